-- The database "shop" that the examples read.
CREATE TABLE customers (
    id bigint PRIMARY KEY,
    email text,
    first_name text NOT NULL,
    last_name text,
    active boolean NOT NULL DEFAULT true,
    balance numeric(12,2) NOT NULL DEFAULT 0,
    since timestamptz NOT NULL
);
INSERT INTO customers VALUES
    (1, 'Ada@Example.com', 'Ada', 'Lovelace', true, 120.10, '2021-03-01 09:00+00'),
    (2, 'grace@example.com', 'Grace', 'Hopper', true, 0.00, '2022-07-15 12:30+00'),
    (3, 'old@example.com', 'Otto', NULL, false, -5.05, '2019-01-01 00:00+00'),
    (4, 'mary@example.com', 'Mary', 'O''Neil', true, 99999999.99, '2024-02-29 23:59:59.5+00');
