#!/bin/sh
# Installs resembled below your home, for you alone; ./uninstall.sh takes it away again. Nothing is enabled or started.
set -eu
cd "$(dirname "$0")"
data=${XDG_DATA_HOME:-}
data=${data:-$HOME/.local/share}
bin=$HOME/.local/bin

mkdir -p "$bin" "$data/systemd/user" "$data/man/man1" "$data/bash-completion/completions" \
    "$data/zsh/site-functions" "$data/fish/vendor_completions.d" "$data/doc/resembled"
for program in resembled resemble; do
    # Under another name first: a program that runs cannot be written to.
    cp "bin/$program" "$bin/.$program.new"
    chmod 755 "$bin/.$program.new"
    mv "$bin/.$program.new" "$bin/$program"
    cp "completions/$program.bash" "$data/bash-completion/completions/$program"
    cp "completions/_$program" "$data/zsh/site-functions/"
    cp "completions/$program.fish" "$data/fish/vendor_completions.d/"
done
cp man/*.1 "$data/man/man1/"
cp systemd/resembled.service systemd/resembled.socket "$data/systemd/user/"
cp README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE THIRD-PARTY.txt uninstall.sh "$data/doc/resembled/"
systemctl --user daemon-reload 2>/dev/null || true

echo "resembled is in $bin; uninstall.sh, beside this and in $data/doc/resembled, removes it"
case ":$PATH:" in
*":$bin:"*) ;;
*) echo "add $bin to your PATH to find it" ;;
esac
if [ -e "$HOME/.config/systemd/user/resembled.service" ]; then
    echo "the unit in ~/.config/systemd/user comes before the one that was installed: delete it unless you mean it"
fi
echo "try it: resembled ~/Pictures"
echo "at each login: write roots = [\"~/Pictures\"] into ~/.config/resembled/config.toml, then"
echo "  systemctl --user enable --now resembled.socket resembled.service"
