#!/usr/bin/env bash
# Makes a release of what is committed: checks versions and changelog, builds, packages, and writes digests and a list of all that
# is in it. Publishes nothing; in the end it says what is left to do.
#
#     scripts/release.sh VERSION
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# = 1 ] || { echo "usage: scripts/release.sh VERSION" >&2; exit 2; }
version=$1
say() { printf '\n== %s\n' "$*"; }
refuse() { echo "release: $*" >&2; exit 1; }

say "what is released"
[ -z "$(git status --porcelain)" ] || refuse "there are changes that are not committed"
found=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
[ "$found" = "$version" ] || refuse "Cargo.toml says $found: write version = \"$version\" under [workspace.package]"
head=$(sed -n 's/^## //p' CHANGELOG.md | head -n 1)
case $head in
"$version "* | "$version") ;;
*) refuse "the first heading of CHANGELOG.md is \"$head\": it has to be \"$version - $(date +%F)\"" ;;
esac
! git rev-parse --quiet --verify "refs/tags/v$version" >/dev/null || refuse "there is a tag v$version already"

say "the whole check"
.ci/run

say "executables"
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
# Where it was built is nobody's business, and would be another one on each machine.
RUSTFLAGS="--remap-path-prefix=$PWD=/resembled --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
    cargo build --profile dist --locked

say "packages"
out=target/release-$version
rm -rf "$out"
scripts/package.sh target/dist "$out"
if command -v cargo-cyclonedx >/dev/null; then
    cargo cyclonedx --format json --override-filename "resembled-$version.cdx"
    mv "resembled-$version.cdx.json" "$out/"
    find . -name "resembled-$version.cdx.json" -not -path './target/*' -delete
else
    echo "release: no list of parts is made: cargo install --locked cargo-cyclonedx" >&2
fi
(cd "$out" && sha256sum -- * >SHA256SUMS && cat SHA256SUMS)

say "what is left to do"
cat <<END
[ ] scripts/try-package.sh $out/resembled_${version}-1_$(dpkg --print-architecture 2>/dev/null || echo ARCHITECTURE).deb   (as root)
[ ] lintian $out/*.deb
[ ] the same digests from a second run, on another day
[ ] git tag -s v$version && git push origin v$version
[ ] $out/* beside the tag, with the CHANGELOG's words
[ ] "## Unreleased" on top of CHANGELOG.md
END
