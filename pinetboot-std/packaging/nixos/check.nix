# Evaluates the module, with options and packages of NixOS replaced by simple ones; throws if the result is wrong.
# nix-instantiate --eval --strict --arg lib 'import LIB' check.nix, where LIB is nixpkgs/lib.
{ lib }:

let
  anything = lib.mkOption { type = lib.types.attrsOf lib.types.anything; default = { }; };
  pkgs = {
    formats.toml = _: {
      type = lib.types.attrsOf lib.types.anything;
      generate = name: settings: { inherit name settings; };
    };
    coreutils = { type = "derivation"; name = "coreutils"; outPath = "/nix/store/coreutils"; outputName = "out"; };
    writeTextDir = path: text: { inherit path text; };
    callPackage = file: arguments: import file (arguments // {
      inherit lib;
      installShellFiles = "installShellFiles";
      rustPlatform.buildRustPackage = package: package // {
        type = "derivation";
        name = "${package.pname}-${package.version}";
        outPath = "/nix/store/${package.pname}";
      };
    });
  };
  system = settings: (lib.evalModules {
    modules = [
      ./module.nix
      { _module.args.pkgs = pkgs; services.pinetboot = settings; }
      {
        options = lib.genAttrs [ "environment" "users" "networking" ] (_: anything) // {
          systemd.packages = lib.mkOption { type = lib.types.listOf lib.types.anything; default = [ ]; };
          systemd.services = anything;
        };
      }
    ];
  }).config;
  settings = { tree = "/srv/pi"; dhcp = "proxy"; };
  roots = system { enable = true; openFirewall = true; inherit settings; };
  files = system { enable = true; roots = false; inherit settings; };
  off = system { enable = false; };
  unit = system: lib.head system.systemd.packages;
  checks = {
    "off, nothing is there" = off.environment == { } && off.systemd.services == { } && off.users == { };
    "the configuration is that of the settings" = roots.environment.etc."pinetboot.toml".source.settings == settings;
    "the unit of roots starts at boot" = roots.systemd.services.pinetboot-roots.wantedBy == [ "multi-user.target" ];
    "its file is the repository's" = (unit roots).path == "lib/systemd/system/pinetboot-roots.service"
      && lib.hasInfix "\nExecStart=/nix/store/pinetboot/bin/pinetboot serve --config /etc/pinetboot.toml\n" (unit roots).text;
    "without roots there is the other unit" = files.systemd.services ? pinetboot && (unit files).path == "lib/systemd/system/pinetboot.service";
    "no unit names a program that NixOS has not" =
      lib.all (of: builtins.match ".*=[+]?/(usr|bin)/.*" (unit of).text == null) [ roots files ];
    "the firewall is opened on demand" = roots.networking.firewall.allowedTCPPorts == [ 111 2049 ]
      && !(files.networking.firewall.allowedUDPPorts or [ ] != [ ]);
    "the package is that of the lock file" = builtins.pathExists roots.services.pinetboot.package.cargoLock.lockFile
      && builtins.pathExists (roots.services.pinetboot.package.src.origSrc + "/pinetboot-std");
  };
  wrong = lib.attrNames (lib.filterAttrs (_: holds: !holds) checks);
in
if wrong == [ ] then lib.attrNames checks else throw "not so: ${toString wrong}"
