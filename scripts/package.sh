#!/usr/bin/env bash
# Makes what is delivered, of executables that are built: a Debian package, and a tarball with an install script.
#
#     scripts/package.sh [FOLDER WITH BOTH EXECUTABLES [FOLDER TO PUT IT]]
#
# By default those of `cargo build --profile dist --locked` in target/dist, into target/package. Needs cargo-deb
# (`cargo install --locked cargo-deb`) for the package, and python3 for the licences. The same sources, tools and executables give
# the same files, byte for byte.
set -euo pipefail
cd "$(dirname "$0")/.."
built=$(realpath "${1:-target/dist}")
out=${2:-target/package}
for program in resembled resemble; do
    [ -x "$built/$program" ] || { echo "package: there is no $built/$program: cargo build --profile dist --locked" >&2; exit 1; }
done

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
machine=$(uname -m)
# When the sources were last changed, for every date in what is made.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

# Where Cargo.toml looks for what goes into the package.
work=target/deb
rm -rf "$work"
mkdir -p "$work"/{bin,man,completions,systemd} "$out"
install -m 755 "$built/resembled" "$built/resemble" "$work/bin/"
strip --strip-unneeded "$work"/bin/*

for program in resembled resemble; do
    "$work/bin/$program" man "$work/man"
    "$work/bin/$program" completions bash >"$work/completions/$program.bash"
    "$work/bin/$program" completions zsh >"$work/completions/_$program"
    "$work/bin/$program" completions fish >"$work/completions/$program.fish"
done
python3 scripts/licences.py "$work/THIRD-PARTY.txt"
gzip -9nk "$work/THIRD-PARTY.txt"
cp systemd/resembled.socket "$work/systemd/"
sed 's|^ExecStart=.*|ExecStart=/usr/bin/resembled|' systemd/resembled.service >"$work/systemd/resembled.service"
sed 's|^ExecStart=.*|ExecStart=%h/.local/bin/resembled|' systemd/resembled.service >"$work/systemd/resembled.service.home"
grep -q '^ExecStart=/usr/bin/resembled$' "$work/systemd/resembled.service"
maintainer=$(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)
cat >"$work/copyright" <<END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: resembled

Files: *
Copyright: 2026 The resembled developers
License: Expat or Apache-2.0
Comment: What it is made with is listed in THIRD-PARTY.txt.gz beside this file, each with its licence.

License: Expat
$(sed -n '/^Permission/,$p' LICENSE-MIT | sed 's/^$/./; s/^/ /')

License: Apache-2.0
 On Debian systems, the text is in /usr/share/common-licenses/Apache-2.0.
END
cat >"$work/changelog" <<END
resembled ($version-1) unstable; urgency=medium

  * CHANGELOG.md says what is new.

 -- $maintainer  $(date --utc --date="@$SOURCE_DATE_EPOCH" --rfc-email)
END

tarball="resembled-$version-linux-$machine"
home="$work/$tarball"
mkdir -p "$home/share"
cp -r "$work/bin" "$work/man" "$work/completions" "$home/"
mkdir "$home/systemd"
cp "$work/systemd/resembled.socket" "$home/systemd/"
cp "$work/systemd/resembled.service.home" "$home/systemd/resembled.service"
rmdir "$home/share"
cp README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$work/THIRD-PARTY.txt" "$home/"
install -m 755 scripts/install.sh scripts/uninstall.sh "$home/"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -C "$work" -cf - "$tarball" \
    | gzip -9n >"$out/$tarball.tar.gz"

if command -v cargo-deb >/dev/null; then
    cargo deb --quiet --no-build --no-strip --output "$out"
else
    echo "package: no Debian package is made: cargo install --locked cargo-deb" >&2
fi
ls -l "$out"
