/*
 * Signatures that prove to an API, or to a webhook's receiver, who sends: HMACs and JSON web
 * tokens. They are made for each attempt, never kept: the time is part of most. Keys come as
 * their owner writes them and are wiped from what is made of them here; no error quotes one.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

/* Base 64 as in RFC 4648 section 4 (with padding), and as in URLs and JWTs, section 5
 * (without). */
void sign_base64(struct buf *out, struct str bytes);
void sign_base64url(struct buf *out, struct str bytes);

enum sign_encoding { SIGN_HEX, SIGN_BASE64 };

/* A header like GitHub's "X-Hub-Signature-256: sha256=<hex>". */
struct sign_hmac {
    const char *algorithm; /* "sha256", "sha384", "sha512" */
    enum sign_encoding encoding;
    const char *prefix; /* "sha256="; NULL: none */
};

/* Appends the header's value for the parts put together. 0 or -errno. */
int sign_hmac(const struct sign_hmac *how, struct str key, const struct str *parts,
              size_t nparts, struct buf *out, struct error *err);

/*
 * Appends the value of webhook-signature (Standard Webhooks 1.0.0). webhook-id is the message's
 * name, the same at each attempt and without a dot in it; webhook-timestamp is this attempt's,
 * in seconds. secrets: "whsec_…", or several between white space while they are being replaced,
 * the newest first, each of which signs. 0, ERR_CONFIG when one is none, or -ENOMEM.
 */
int sign_standard(const char *secrets, struct str id, int64_t timestamp, struct str body,
                  struct buf *out, struct error *err);

/*
 * Appends the JSON web token of header and claims, JSON texts, signed by RS256 (RFC 7515). The
 * key is an RSA key of at least 2048 bits in PEM, PKCS#8 or PKCS#1, not encrypted. 0,
 * ERR_CONFIG when the key is none, or -ENOMEM.
 */
int sign_jwt(struct str header, struct str claims, struct str pem, struct buf *out,
             struct error *err);
