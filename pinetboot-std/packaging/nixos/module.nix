# pinetboot as a service of NixOS:
#
#     imports = [ ./pinetboot/pinetboot-std/packaging/nixos/module.nix ];
#     services.pinetboot = {
#       enable = true;
#       settings = { tree = "/srv/pi"; dhcp = "proxy"; interface = "eth0"; };
#     };
#
# The units are those of pinetboot-std/systemd, with the programs of NixOS. An experiment: evaluated (check.nix), not built nor booted.
{ config, lib, pkgs, ... }:

let
  cfg = config.services.pinetboot;
  format = pkgs.formats.toml { };
  configuration = format.generate "pinetboot.toml" cfg.settings;
  name = if cfg.roots then "pinetboot-roots" else "pinetboot";
  # Their paths on other systems, and here.
  programs = {
    "/usr/local/bin/pinetboot" = lib.getExe cfg.package;
    "/usr/bin/install" = lib.getExe' pkgs.coreutils "install";
    "/bin/kill" = lib.getExe' pkgs.coreutils "kill";
  };
  unit = file: pkgs.writeTextDir "lib/systemd/system/${file}"
    (builtins.replaceStrings (lib.attrNames programs) (lib.attrValues programs)
      (builtins.readFile (../../systemd + "/${file}")));
in
{
  options.services.pinetboot = {
    enable = lib.mkEnableOption "the netboot server for Raspberry Pis";
    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = "package.nix beside this module";
      description = "The package of the program.";
    };
    roots = lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = "Serve a root for each Pi by NFS. Without, the server has no right beyond its ports.";
    };
    settings = lib.mkOption {
      type = format.type;
      example = { tree = "/srv/pi"; dhcp = "proxy"; interface = "eth0"; };
      description = "The settings of `pinetboot serve --help`, without the dashes.";
    };
    openFirewall = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = "Open the ports of DHCP, TFTP and NFS.";
    };
  };

  config = lib.mkIf cfg.enable {
    environment.etc."pinetboot.toml".source = configuration;
    environment.systemPackages = [ cfg.package ];
    users.users.pinetboot = { isSystemUser = true; group = "pinetboot"; };
    users.groups.pinetboot = { };
    systemd.packages = [ (unit "${name}.service") ];
    systemd.services.${name} = {
      wantedBy = [ "multi-user.target" ];
      reloadTriggers = [ configuration ];
    };
    networking.firewall = lib.mkIf cfg.openFirewall {
      allowedUDPPorts = [ 67 69 4011 ] ++ lib.optionals cfg.roots [ 111 2049 ];
      allowedTCPPorts = lib.optionals cfg.roots [ 111 2049 ];
    };
  };
}
