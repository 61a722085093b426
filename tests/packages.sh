#!/bin/sh
# Installs the Debian packages that the tests need and that are missing, and says so. No service is started or enabled.
# Without root or without apt-get it installs nothing: the tests skip, by name, what they can't run then.
set -eu

missing() {
    python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
    command -v debootstrap >/dev/null || echo debootstrap
    command -v ejabberdctl >/dev/null || echo ejabberd
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
    echo "not installed: that takes root and apt-get; what needs them is skipped"
    exit 0
fi

# invoke-rc.d asks this file, and 101 means no. One that exists already is the administrator's answer.
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
        echo "$package could not be installed; what needs it is skipped"
done
for unit in $(enabled_units); do
    echo "$before" | grep -q -x -F "$unit" || systemctl --root=/ --quiet disable "$unit"
done
