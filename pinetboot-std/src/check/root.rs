//! Rules over a root file system that Pis mount by NFS: what was made for a card, and what NFS does not carry.

use pinetboot_core::pi::rules;

use super::network;
use super::tree::Tree;
use super::units::{has_unit, is_enabled, is_masked};
use crate::finding::{Finding, Findings};

/// A root, and what is known of its use.
pub(super) struct Root<'a> {
    pub(super) files: Tree<'a>,
    /// Whether each Pi gets an identity of its own from the server.
    pub(super) own_identity: bool,
    /// Whether the root is checked for completeness too.
    pub(super) is_thorough: bool,
    /// The directory of the boot files beneath the root, if it is there: `boot/firmware`.
    pub(super) boot: Option<String>,
}

impl Root<'_> {
    pub(super) fn check(&self, findings: &mut Findings) {
        if self.is_thorough {
            self.first_program(findings);
        }
        self.fstab(findings);
        self.swap(findings);
        self.identity(findings);
        self.first_boot(findings);
        self.cloud_init(findings);
        self.clock(findings);
        self.capabilities(findings);
        self.containers(findings);
        network::check(&self.files, findings);
    }

    /// Without init= on the command line Linux tries these (init/main.c, kernel_init).
    fn first_program(&self, findings: &mut Findings) {
        if !["sbin/init", "etc/init", "bin/init"].iter().any(|path| self.files.has(path)) {
            let what = "the root has no /sbin/init, /etc/init or /bin/init: a kernel without init= has no first program.";
            findings.add(Finding::warning(what).rule(&rules::NO_FIRST_PROGRAM));
        }
    }

    /// Lines that systemd waits for, and those that take mount.nfs.
    fn fstab(&self, findings: &mut Findings) {
        let text = self.files.text("etc/fstab").unwrap_or_default();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|fields| fields.first().is_some_and(|source| !source.starts_with('#')))
            .collect();
        let of_card = lines.iter().filter(|fields| waits_for_card(fields)).map(|fields| fields[0]);
        let of_card: Vec<_> = of_card.collect();
        if !of_card.is_empty() {
            let finding = Finding::warning(format!("/etc/fstab names {}.", of_card.join(", ")));
            findings.add(
                finding
                    .rule(&rules::FSTAB_OF_CARD)
                    .evidence("systemd waits 90 s for the device, and then enters emergency mode."),
            );
        }
        let mounts_nfs = lines.iter().any(|fields| fields.get(2).is_some_and(|kind| kind.starts_with("nfs")));
        let helper = ["usr/sbin/mount.nfs", "sbin/mount.nfs"].iter().any(|path| self.files.has(path));
        if mounts_nfs && !helper {
            let finding =
                Finding::warning("/etc/fstab has a line of type nfs, and /usr/sbin/mount.nfs is missing.");
            findings.add(finding.rule(&rules::NO_MOUNT_NFS));
        }
    }

    fn swap(&self, findings: &mut Findings) {
        let dphys =
            self.is_enabled("dphys-swapfile.service") || self.files.has("etc/rc2.d/S01dphys-swapfile");
        // rpi-swap makes a file beside zram, unless Mechanism=zram (rpi-swap, etc/rpi/swap.conf).
        let rpi = self.files.has_file("etc/rpi/swap.conf") && !self.swaps_to_memory();
        let file = self.files.has_file("var/swap");
        let found = [
            (dphys, "dphys-swapfile is enabled"),
            (rpi, "rpi-swap makes a swap file"),
            (file, "/var/swap exists"),
        ];
        if let Some((_, what)) = found.into_iter().find(|(is_so, _)| *is_so) {
            findings.add(Finding::warning(format!("{what}: swap on an NFS root.")).rule(&rules::SWAP_ON_NFS));
        }
    }

    fn swaps_to_memory(&self) -> bool {
        let parts = self
            .files
            .list("etc/rpi/swap.conf.d")
            .into_iter()
            .map(|name| format!("etc/rpi/swap.conf.d/{name}"));
        let texts = ["etc/rpi/swap.conf".to_owned()]
            .into_iter()
            .chain(parts)
            .filter_map(|path| self.files.text(&path));
        let all: String = texts.map(|text| text + "\n").collect();
        let last = all.lines().rev().find_map(|line| line.trim().strip_prefix("Mechanism="));
        matches!(last, Some("zram" | "none"))
    }

    fn identity(&self, findings: &mut Findings) {
        if self.own_identity {
            return;
        }
        let keys = self
            .files
            .list("etc/ssh")
            .iter()
            .any(|name| name.starts_with("ssh_host_") && name.ends_with("_key"));
        let id = self.files.text("etc/machine-id").unwrap_or_default();
        let has_id = id.trim().len() == 32;
        if keys && has_id {
            let finding = Finding::note(
                "the root has SSH host keys and a machine ID: every Pi that mounts it has the same.",
            );
            findings.add(finding.rule(&rules::IDENTITY_CLONED).evidence(
                "In the mode overlay (the default) 'pinetboot serve --nfs' gives each Pi its own.",
            ));
        }
    }

    fn first_boot(&self, findings: &mut Findings) {
        let script = self.files.has("etc/init.d/resize2fs_once")
            && self.files.list("etc").iter().any(|level| {
                level.starts_with("rc")
                    && self
                        .files
                        .list(&format!("etc/{level}"))
                        .iter()
                        .any(|link| link.ends_with("resize2fs_once"))
            });
        let units = ["resize2fs_once.service", "rpi-resize.service", "dietpi-fs_partition_resize.service"];
        let mut found: Vec<&str> = units.into_iter().filter(|unit| self.is_enabled(unit)).collect();
        if script {
            found.push("/etc/init.d/resize2fs_once");
        }
        if !found.is_empty() {
            let what = format!("{} of the first boot from a card is enabled.", found.join(", "));
            let finding = Finding::warning(what).rule(&rules::FIRST_BOOT_SERVICES);
            findings.add(finding.remedy(format!(
                "Disable it in the root: systemctl --root=DIR disable {}.",
                found.join(" ")
            )));
        }
    }

    /// cloud-init runs where it is installed and not disabled; its seed may come from the boot files.
    fn cloud_init(&self, findings: &mut Findings) {
        let installed = ["cloud-init-main.service", "cloud-init.service", "cloud-init-local.service"]
            .iter()
            .any(|unit| has_unit(&self.files, unit) && !is_masked(&self.files, unit));
        if !installed || self.files.has("etc/cloud/cloud-init.disabled") {
            return;
        }
        let boot = self.boot.as_deref().unwrap_or("boot/firmware");
        let seeds = [format!("{boot}/meta-data"), "var/lib/cloud/seed/nocloud/meta-data".to_owned()];
        if !seeds.iter().any(|seed| self.files.has_file(seed)) {
            let what = "cloud-init is enabled, and has no seed: neither in the boot files nor in /var/lib/cloud/seed/nocloud.";
            findings.add(Finding::note(what).rule(&rules::CLOUD_INIT));
        }
        let network = format!("{boot}/network-config");
        let text = self.files.text(&network).unwrap_or_default();
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let has = |key: &str| lines().any(|line| line.starts_with(key));
        if has("ethernets:") && !has("renderer:") {
            let finding = Finding::warning(format!("/{network} configures Ethernet, and names no renderer."));
            findings.add(finding.rule(&rules::CLOUD_INIT_RENDERER));
        }
    }

    /// A Pi without a battery starts with the time of the kernel's build.
    fn clock(&self, findings: &mut Findings) {
        let has_system = self.files.has("usr/lib/systemd/systemd") || self.files.has("lib/systemd/systemd");
        let keeps = [
            "usr/lib/systemd/systemd-timesyncd",
            "lib/systemd/systemd-timesyncd",
            "usr/sbin/chronyd",
            "usr/sbin/ntpd",
            "sbin/fake-hwclock",
            "usr/sbin/fake-hwclock",
        ];
        if has_system && !keeps.iter().any(|path| self.files.has(path)) {
            let what = "the root has no client of NTP (systemd-timesyncd, chrony, ntp) and no fake-hwclock.";
            findings.add(Finding::note(what).rule(&rules::WRONG_CLOCK));
        }
    }

    /// Programs whose capabilities NFSv3 does not carry.
    fn capabilities(&self, findings: &mut Findings) {
        let mut lost = Vec::new();
        for directory in ["usr/bin", "usr/sbin"] {
            for name in self.files.list(directory) {
                let path = format!("{directory}/{name}");
                // A list of names that are known to come with one: a look at each file of a root takes too long.
                if WITH_CAPABILITIES.contains(&name.as_str()) && self.files.has_capability(&path) {
                    lost.push(format!("/{path}"));
                }
            }
        }
        let ping =
            |text: &str| text.lines().any(|line| line.trim_start().starts_with("net.ipv4.ping_group_range"));
        let opens_ping = ["etc/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d"].iter().any(|directory| {
            self.files
                .list(directory)
                .iter()
                .any(|name| self.files.text(&format!("{directory}/{name}")).is_some_and(|text| ping(&text)))
        });
        lost.retain(|path| !(opens_ping && path.ends_with("/ping")));
        if !lost.is_empty() {
            let finding =
                Finding::note(format!("{} has capabilities, which NFSv3 does not carry.", lost.join(", ")));
            findings.add(finding.rule(&rules::NO_EXTENDED_ATTRIBUTES));
        }
    }

    fn containers(&self, findings: &mut Findings) {
        let mut found: Vec<&str> = Vec::new();
        let settings = |path: &str| self.files.text(path).unwrap_or_default();
        let docker = ["usr/bin/dockerd", "usr/sbin/dockerd"].iter().any(|path| self.files.has(path));
        let daemon = settings("etc/docker/daemon.json");
        if docker
            && !["fuse-overlayfs", "\"vfs\"", "btrfs", "zfs", "data-root"]
                .iter()
                .any(|other| daemon.contains(other))
        {
            found.push("Docker");
        }
        let k3s = self.files.has("usr/local/bin/k3s");
        let k3s_text = settings("etc/systemd/system/k3s.service")
            + &settings("etc/systemd/system/k3s-agent.service")
            + &settings("etc/rancher/k3s/config.yaml");
        if k3s && !["snapshotter", "data-dir"].iter().any(|setting| k3s_text.contains(setting)) {
            found.push("k3s");
        }
        let storage = settings("etc/containers/storage.conf");
        if self.files.has("usr/bin/podman")
            && !["mount_program", "\"vfs\"", "graphroot"].iter().any(|key| {
                storage.lines().any(|line| !line.trim_start().starts_with('#') && line.contains(key))
            })
        {
            found.push("podman");
        }
        if !found.is_empty() {
            let what = format!("{} keeps its layers on the NFS root, with overlayfs.", found.join(", "));
            findings.add(Finding::warning(what).rule(&rules::OVERLAYFS_ON_NFS));
        }
    }

    fn is_enabled(&self, unit: &str) -> bool {
        is_enabled(&self.files, unit)
    }
}

/// Whether the boot waits for a line's device.
fn waits_for_card(fields: &[&str]) -> bool {
    let [source, place, kind, rest @ ..] = fields else { return false };
    let names_device =
        ["PARTUUID=", "UUID=", "LABEL=", "PARTLABEL=", "/dev/mmcblk", "/dev/sd", "/dev/nvme", "/dev/disk/"];
    let is_awaited = !rest.first().is_some_and(|options| {
        options.split(',').any(|option| ["nofail", "noauto", "x-systemd.automount"].contains(&option))
    });
    let is_device = names_device.iter().any(|name| source.starts_with(name));
    is_device && (is_awaited || *place == "/") && *kind != "none"
}

/// Programs of Debian that come with file capabilities.
const WITH_CAPABILITIES: &[&str] = &[
    "ping",
    "ping4",
    "ping6",
    "dumpcap",
    "mtr-packet",
    "arping",
    "fping",
    "clockdiff",
    "traceroute6.iputils",
    "gst-ptp-helper",
];
