# Homebrew, on Linux. `brew install ./talmirror.rb`, or in a tap.
class Talmirror < Formula
  desc "Registry mirrors for Talos Linux clusters: one inventory, every patch"
  homepage "https://github.com/talmirror/talmirror"
  version "@VERSION@"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on :linux

  on_intel do
    url "https://github.com/talmirror/talmirror/releases/download/v@VERSION@/talmirror-@VERSION@-linux-amd64.tar.gz"
    sha256 "@SHA256_TALMIRROR_AMD64@"
  end
  on_arm do
    url "https://github.com/talmirror/talmirror/releases/download/v@VERSION@/talmirror-@VERSION@-linux-arm64.tar.gz"
    sha256 "@SHA256_TALMIRROR_ARM64@"
  end

  def install
    bin.install "talmirror"
    man1.install Dir["usr/share/man/man1/*"]
    bash_completion.install "usr/share/bash-completion/completions/talmirror"
    zsh_completion.install "usr/share/zsh/vendor-completions/_talmirror"
    fish_completion.install "usr/share/fish/vendor_completions.d/talmirror.fish"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/talmirror --version")
  end
end
