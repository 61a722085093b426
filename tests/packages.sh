#!/bin/sh
# Installs the missing Debian packages that the tests need, and prints their names. No service is started or enabled.
# Without root or without apt-get it installs nothing; then the tests that need these packages are skipped.
set -eu

missing() {
    python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
    command -v debootstrap >/dev/null || echo debootstrap
    command -v dnsmasq >/dev/null || echo dnsmasq-base
    command -v ejabberdctl >/dev/null || echo ejabberd
    command -v sipp >/dev/null || echo sip-tester
    command -v strace >/dev/null || echo strace
}

enabled_units() {
    if command -v systemctl >/dev/null; then
        systemctl --root=/ list-unit-files --state=enabled --no-legend | cut -d ' ' -f 1
    fi
}

PATH="$PATH:/usr/sbin:/sbin"
packages=$(missing)
[ -n "$packages" ] || exit 0
echo "missing: $(echo "$packages" | tr "\n" " ")"
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed, because this needs root and apt-get; tests that need these packages are skipped"
    exit 0
fi

# invoke-rc.d runs this file; status 101 means: start no service. A file that exists already is the administrator's.
guard=/usr/sbin/policy-rc.d
if [ ! -e "$guard" ]; then
    trap 'rm -f "$guard"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$guard"
    chmod 755 "$guard"
fi
before=$(enabled_units)
export DEBIAN_FRONTEND=noninteractive
apt-get -q -q update
for package in $packages; do
    echo "apt-get install $package"
    apt-get -q -q -y -o Dpkg::Use-Pty=0 --no-install-recommends install "$package" >/dev/null </dev/null ||
        echo "$package could not be installed; tests that need it are skipped"
done
for unit in $(enabled_units); do
    echo "$before" | grep -q -x -F "$unit" || systemctl --root=/ --quiet disable "$unit"
done
