# `. tests/lib/install.sh`: install_packages FILE… installs those of the packages listed (one a
# line) that are missing, as root or by sudo, on Debian and its relatives.
# shellcheck shell=bash

install_packages() {
    local missing=() name sudo=
    while read -r name; do
        dpkg-query -W -f '${Status}\n' "$name" 2> /dev/null | grep -q '^install ok installed' || missing+=("$name")
    done < <(cat "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        sudo=sudo
        command -v sudo > /dev/null || {
            echo "these packages are missing, and only root or sudo can install them: ${missing[*]}" >&2
            return 1
        }
    fi
    echo "installing: ${missing[*]}"
    $sudo apt-get update -qq > /dev/null
    # shellcheck disable=SC2086
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
}
