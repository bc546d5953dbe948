#!/bin/sh
# Removes what install.sh has installed. The index, its small pictures and the configuration stay; with --all they go too. Nothing
# was ever written into a photo folder.
set -eu
data=${XDG_DATA_HOME:-}
data=${data:-$HOME/.local/share}
config=${XDG_CONFIG_HOME:-}
config=${config:-$HOME/.config}
cache=${XDG_CACHE_HOME:-}
cache=${cache:-$HOME/.cache}
case ${1:-} in
'' | --all) ;;
*)
    echo "usage: uninstall.sh [--all]" >&2
    exit 2
    ;;
esac

systemctl --user disable --now resembled.service resembled.socket 2>/dev/null || true
for program in resembled resemble; do
    rm -f "$HOME/.local/bin/$program" "$data/bash-completion/completions/$program" \
        "$data/zsh/site-functions/_$program" "$data/fish/vendor_completions.d/$program.fish" \
        "$data/man/man1/$program.1" "$data/man/man1/$program"-*.1
done
rm -f "$data/systemd/user/resembled.service" "$data/systemd/user/resembled.socket"
rm -rf "$data/doc/resembled"
systemctl --user daemon-reload 2>/dev/null || true
if [ "${1:-}" = --all ]; then
    rm -rf "$data/resembled" "$config/resembled" "$cache/resembled"
    echo "resembled is removed, with its index, small pictures and configuration"
else
    echo "resembled is removed; its index is $data/resembled, its configuration $config/resembled: uninstall.sh --all removes them"
fi
# Folders that have nothing in them any more.
for folder in "$data/systemd/user" "$data/systemd" "$data/zsh/site-functions" "$data/zsh" "$data/fish/vendor_completions.d" \
    "$data/fish" "$data/bash-completion/completions" "$data/bash-completion" "$data/man/man1" "$data/man" "$data/doc"; do
    rmdir "$folder" 2>/dev/null || true
done
