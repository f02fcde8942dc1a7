# The program, from the sources around this file. It takes the Rust of `rust-version` in Cargo.toml.
{ lib, rustPlatform, installShellFiles }:

rustPlatform.buildRustPackage {
  pname = "pinetboot";
  version = (lib.importTOML ../../../Cargo.toml).workspace.package.version;
  src = lib.cleanSource ../../..;
  cargoLock.lockFile = ../../../Cargo.lock;
  cargoBuildFlags = [ "--package" "pinetboot" ];
  # The tests start servers: .ci/run has them.
  doCheck = false;
  nativeBuildInputs = [ installShellFiles ];
  postInstall = ''
    cargo run --offline --release --package pinetboot --example reference -- reference
    installManPage reference/man/*.1
    installShellCompletion reference/completions/pinetboot.{bash,fish} reference/completions/_pinetboot
  '';
  meta = {
    description = "Netboot server for Raspberry Pis";
    license = with lib.licenses; [ asl20 mit ];
    mainProgram = "pinetboot";
    platforms = lib.platforms.linux;
  };
}
