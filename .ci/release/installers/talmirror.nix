# Nix: `nix-build -E '(import <nixpkgs> { }).callPackage ./talmirror.nix { }'`. The released program, which is static.
{
  lib,
  stdenvNoCC,
  fetchurl,
  installShellFiles,
}:
let
  version = "@VERSION@";
  released = {
    x86_64-linux = {
      arch = "amd64";
      sha256 = "@SHA256_TALMIRROR_AMD64@";
    };
    aarch64-linux = {
      arch = "arm64";
      sha256 = "@SHA256_TALMIRROR_ARM64@";
    };
  };
  own = released.${stdenvNoCC.hostPlatform.system} or (throw "talmirror is not released for ${stdenvNoCC.hostPlatform.system}");
in
stdenvNoCC.mkDerivation {
  pname = "talmirror";
  inherit version;
  src = fetchurl {
    url = "https://github.com/talmirror/talmirror/releases/download/v${version}/talmirror-${version}-linux-${own.arch}.tar.gz";
    inherit (own) sha256;
  };
  nativeBuildInputs = [ installShellFiles ];
  installPhase = ''
    install -Dm755 talmirror $out/bin/talmirror
    installManPage usr/share/man/man1/*
    installShellCompletion --bash --name talmirror usr/share/bash-completion/completions/talmirror
    installShellCompletion --zsh usr/share/zsh/vendor-completions/_talmirror
    installShellCompletion --fish usr/share/fish/vendor_completions.d/talmirror.fish
  '';
  meta = {
    description = "Registry mirrors for Talos Linux clusters: one inventory, every patch, encrypted and checked";
    homepage = "https://github.com/talmirror/talmirror";
    license = with lib.licenses; [ mit asl20 ];
    platforms = builtins.attrNames released;
    mainProgram = "talmirror";
  };
}
