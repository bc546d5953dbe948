#!/usr/bin/env bash
# Installs a Debian package into a fresh Debian, uses it as a new user would, upgrades it over a live index, removes and purges it.
#
#     scripts/try-package.sh FILE.deb [SUITE]
#
# Needs root, debootstrap and the network (about 100 MB); says so and ends well elsewhere. SUITE: bookworm, or what
# RESEMBLED_DEBIAN says.
set -euo pipefail
package=$(realpath "${1:?usage: scripts/try-package.sh FILE.deb [SUITE]}")
suite=${2:-${RESEMBLED_DEBIAN:-bookworm}}
skip() { echo "SKIPPED: $*"; exit 0; }
[ "$(id -u)" = 0 ] || skip "a fresh Debian takes root"
command -v debootstrap >/dev/null || skip "debootstrap is not installed"
# What is mounted below goes with the script.
[ -n "${TRYING:-}" ] || TRYING=1 exec unshare --mount --propagation private "$BASH" "$0" "$@"

root=$(mktemp -d)
# Others than root live in it too.
chmod 755 "$root"
daemon=
stop() {
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
    [ -z "$daemon" ] || wait "$daemon" 2>/dev/null || true
    daemon=
}
clean() {
    stop
    umount --lazy "$root/proc" "$root" 2>/dev/null || true
    rm -rf --one-file-system "$root"
}
trap clean EXIT
trap 'exit 1' HUP INT TERM
fail() { echo "FAILED: $*" >&2; exit 1; }
ok() { echo "ok: $*"; }

debootstrap --variant=minbase "$suite" "$root" >"$root.log" 2>&1 || { tail "$root.log" >&2; rm -f "$root.log"; fail "debootstrap"; }
rm -f "$root.log"
# A root that nothing is mounted on has no line in /proc/self/mountinfo.
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
chroot "$root" useradd --create-home me
as_me=(chroot --userspec=me:me "$root" env -i HOME=/home/me XDG_RUNTIME_DIR=/home/me/run PATH=/usr/bin:/bin NO_COLOR=1)
as_me() { "${as_me[@]}" "$@"; }
# A photo is the first that is found for itself.
finds_itself() {
    local found
    found=$(as_me resemble search "$1" --paths) || true
    [ "${found%%$'\n'*}" = "$1" ] || { echo "$found" >&2; as_me resemble search "$1" >&2 || true; fail "$1 does not find itself"; }
}
start() {
    # Not the function, which would be a process of its own between us.
    "${as_me[@]}" resembled /home/me/Pictures >"$root/home/me/log" 2>&1 &
    daemon=$!
    for _ in $(seq 600); do
        status=$(as_me resemble status --json 2>/dev/null) || status=
        # It may be at rest before it has begun.
        case $status in
        *'"photos":12,'*'"state":"idle"'*) return ;;
        esac
        kill -0 "$daemon" 2>/dev/null || { cat "$root/home/me/log" >&2; fail "the daemon ended"; }
        sleep 0.2
    done
    cat "$root/home/me/log" >&2
    fail "the daemon did not come to rest"
}
installed() { chroot "$root" dpkg-query -L resembled | sort; }

echo "== install"
cp "$package" "$root/resembled.deb"
chroot "$root" dpkg --install /resembled.deb >/dev/null || fail "it cannot be installed into a fresh $suite without anything else"
for file in /usr/bin/resembled /usr/bin/resemble /usr/lib/systemd/user/resembled.service /usr/lib/systemd/user/resembled.socket \
    /usr/share/man/man1/resembled.1.gz /usr/share/man/man1/resemble.1.gz /usr/share/doc/resembled/copyright \
    /usr/share/bash-completion/completions/resembled /usr/share/bash-completion/completions/resemble \
    /usr/share/zsh/vendor-completions/_resembled /usr/share/zsh/vendor-completions/_resemble \
    /usr/share/fish/vendor_completions.d/resembled.fish /usr/share/fish/vendor_completions.d/resemble.fish; do
    # minbase leaves no documentation out; a file that dpkg lists and does not have is a fault of the package.
    installed | grep -qx "$file" || fail "$file is not in the package"
    [ -e "$root$file" ] || fail "$file was not installed"
done
grep -q '^ExecStart=/usr/bin/resembled$' "$root/usr/lib/systemd/user/resembled.service" || fail "the unit starts something else"
[ -z "$(find "$root/etc/systemd" -name 'resembled*' 2>/dev/null)" ] || fail "a unit was enabled"
versions="$(as_me resembled --version), $(as_me resemble --version)" || fail "it does not run"
ok "installed, nothing enabled: $versions"

echo "== use"
mkdir -p "$root/home/me/Pictures" "$root/home/me/run"
python3 - "$root/home/me/Pictures" <<'END'
import struct, sys, zlib
def png(path, seed):
    width, height = 96, 64
    rows = b"".join(b"\0" + bytes((x * (seed + 1) + y * channel * 3 + seed * 40) % 256 for x in range(width) for channel in range(3)) for y in range(height))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
for seed in range(12):
    png(f"{sys.argv[1]}/{seed}.png", seed)
END
chroot "$root" chown -R me:me /home/me
start
finds_itself /home/me/Pictures/3.png
as_me resemble backup /home/me/index.backup >/dev/null || fail "no backup"
ok "12 photos indexed and found, the index backed up"

echo "== upgrade over a live index"
next="$root/next"
dpkg-deb --raw-extract "$package" "$next"
version=$(sed -n 's/^Version: //p' "$next/DEBIAN/control")
sed -i "s/^Version: .*/Version: $version+next/" "$next/DEBIAN/control"
dpkg-deb --root-owner-group -Zgzip -z1 --build "$next" "$root/next.deb" >/dev/null
rm -rf "$next"
chroot "$root" dpkg --install /next.deb >/dev/null || fail "it cannot be upgraded"
as_me resemble status >/dev/null || fail "the daemon that ran does not answer during the upgrade"
stop
start
[[ $(as_me resemble status --json) = *'"photos_encoded":0'* ]] || fail "photos were encoded anew after the upgrade"
finds_itself /home/me/Pictures/7.png
stop
ok "upgraded from $version to $version+next, nothing encoded anew"

echo "== restore"
rm -rf "$root/home/me/.local/share/resembled"
as_me resembled restore /home/me/index.backup >/dev/null || fail "the backup cannot be restored"
start
[[ $(as_me resemble status --json) = *'"photos_encoded":0'* ]] || fail "photos were encoded anew after the restoration"
stop
ok "restored, nothing encoded anew"

echo "== remove and purge"
files=$(installed)
chroot "$root" dpkg --remove resembled >/dev/null
chroot "$root" dpkg --purge resembled >/dev/null 2>&1
for file in $files; do
    [ -d "$root$file" ] || [ ! -e "$root$file" ] || fail "$file is left"
done
[ -z "$(find "$root/usr" "$root/etc" "$root/var/lib/systemd" -iname '*resemble*' 2>/dev/null | grep -v /var/lib/dpkg || true)" ] || fail "something is left"
[ -e "$root/home/me/.local/share/resembled/resembled.redb" ] || fail "the index of a user was removed"
ok "removed without a trace; the index of the user is theirs"

echo "== tarball"
tarball=$(ls "$(dirname "$package")"/resembled-*-linux-*.tar.gz 2>/dev/null | head -n 1)
if [ -n "$tarball" ]; then
    tar -C "$root/home/me" -xzf "$tarball"
    chroot "$root" chown -R me:me /home/me
    before=$(cd "$root/home/me" && find .local | sort)
    as_me sh -c '/home/me/resembled-*/install.sh' >/dev/null || fail "install.sh"
    as_me /home/me/.local/bin/resemble --version >/dev/null || fail "it was not installed"
    as_me /home/me/.local/share/doc/resembled/uninstall.sh >/dev/null || fail "uninstall.sh"
    after=$(cd "$root/home/me" && find .local | sort | grep -v '^.local/bin$')
    [ "$before" = "$after" ] || fail "uninstall.sh leaves or takes: $(diff <(echo "$before") <(echo "$after"))"
    as_me sh -c '/home/me/resembled-*/uninstall.sh --all' >/dev/null
    [ ! -e "$root/home/me/.local/share/resembled" ] || fail "the index is left"
    ok "the tarball too, installed and removed again"
else
    echo "SKIPPED: there is no tarball beside the package"
fi
echo "all is well with $(basename "$package") in a fresh $suite"
