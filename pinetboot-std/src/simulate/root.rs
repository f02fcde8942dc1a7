//! The boot beyond the kernel: mounts the root that the command line names, and looks for its first program.
//!
//! The calls are those of a kernel or of klibc's nfsmount: GETPORT, MNT, GETATTR, LOOKUP. Then UMNT takes the mount back.
//!
//! Not done: NFSv4, roots over UDP, a path that the kernel learns by DHCP.

use std::io;
use std::net::Ipv4Addr;

use pinetboot_core::pi::rules;

use crate::finding::{Finding, Findings};
use crate::nfs_client::{CallError, Dial, FoundFile, Handle, NfsPorts, NfsServer, WalkError};
use crate::render::cmdline;

/// The state of the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RootCheck {
    /// The root was not tried; the reason, as a sentence without its full stop.
    Skipped(String),
    /// The root cannot be mounted or started from; the findings have the cause.
    Failed,
    /// The root was mounted and has its first program.
    Mounted {
        /// `SERVER:/PATH`.
        source: String,
        /// The path of the first program, after all links.
        init: String,
    },
}

impl Default for RootCheck {
    fn default() -> Self {
        Self::Skipped("the kernel got no command line".into())
    }
}

/// The NFS root of a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NfsRoot {
    /// `None`: the server that DHCP names.
    server: Option<Ipv4Addr>,
    path: String,
    options: Vec<String>,
    init: Option<String>,
}

/// A failed check.
type Obstacle = Box<Finding>;

impl NfsRoot {
    /// Parses `root=`, `nfsroot=` and `init=`; the error is the reason why no root can be checked.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let line = cmdline::first_line(text);
        let arguments = cmdline::arguments(&line);
        let last = |name: &str| arguments.iter().rev().find_map(|word| word.strip_prefix(name));
        let by_initramfs = arguments.contains(&"boot=nfs");
        let source = match last("root=") {
            Some("/dev/nfs" | "nfs") => last("nfsroot=").ok_or_else(|| {
                "the command line has no nfsroot=, and the kernel takes the path from DHCP (option 17)"
                    .to_owned()
            })?,
            None if by_initramfs => last("nfsroot=").ok_or("the command line has no nfsroot=")?,
            // dracut: root=nfs:SERVER:/PATH[:OPTIONS] (dracut.cmdline(7))
            Some(root) if root.starts_with("nfs:") => root.strip_prefix("nfs:").unwrap_or_default(),
            Some(root) => return Err(format!("root={root} is no NFS root of version 3")),
            None => return Err("the command line has no root=".into()),
        };
        let (place, options) = source.split_once(',').unwrap_or((source, ""));
        let (server, path) = match place.split_once(':') {
            Some((server, path)) if !server.contains('/') => (Some(server), path),
            _ => (None, place),
        };
        let (path, more) = path.split_once(':').unwrap_or((path, ""));
        if path.contains('%') {
            return Err(format!("the path {path} depends on the Pi's address or name"));
        }
        let server =
            server.map(|name| name.parse().map_err(|_| format!("the server {name} is no IPv4 address")));
        let options: Vec<String> = options
            .split(',')
            .chain(more.split(','))
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect();
        if options.iter().any(|option| is_version_4(option)) {
            return Err("the root is NFSv4, which this simulation does not speak".into());
        }
        Ok(Self {
            server: server.transpose()?,
            path: path.to_owned(),
            options,
            init: last("init=").map(str::to_owned),
        })
    }

    /// Mounts the root and looks for its first program; `say` gets each step and its result.
    pub(super) fn check(
        &self,
        default_server: Ipv4Addr,
        in_64_bits: bool,
        dial: &mut dyn Dial,
        findings: &mut Findings,
        say: &mut dyn FnMut(&str, &str) -> io::Result<()>,
    ) -> io::Result<RootCheck> {
        let address = self.server.unwrap_or(default_server);
        let port =
            |name: &str| self.options.iter().find_map(|option| option.strip_prefix(name)?.parse().ok());
        let server = NfsServer { address, nfs_port: port("port="), mount_port: port("mountport=") };
        let source = format!("{address}:{}", self.path);
        let mut fail = |obstacle: Obstacle| {
            findings.add(*obstacle);
            Ok(RootCheck::Failed)
        };
        let ports = match self.ports(&server, dial) {
            Ok(ports) => ports,
            Err(obstacle) => {
                say(&format!("portmapper of {address}"), "FAILED")?;
                return fail(obstacle);
            }
        };
        say(
            &format!("portmapper of {address}"),
            &format!("NFS on port {}, MOUNT on port {}", ports.nfs, ports.mount),
        )?;
        let root = match server.mount(dial, ports.mount, &self.path) {
            Ok(root) => root,
            Err(CallError::Status(PERM | ACCES)) if !dial.is_reserved() => {
                say(&format!("MNT {}", self.path), "REFUSED")?;
                return Ok(RootCheck::Skipped(
                    "the server refuses mounts from ports above 1023, and this process may use no other: run the \
                     simulation as root"
                        .into(),
                ));
            }
            Err(error) => {
                say(&format!("MNT {}", self.path), "REFUSED")?;
                return fail(not_mounted(&source, ports.mount, &error));
            }
        };
        say(&format!("MNT {}", self.path), "mounted")?;
        let init = self.first_program(&server, ports, &root, in_64_bits, dial);
        // A failure changes nothing for the simulated Pi.
        let _ignored = server.unmount(dial, ports.mount, &self.path);
        match init {
            Ok((program, kind)) => {
                say(&program.path, kind)?;
                Ok(RootCheck::Mounted { source, init: program.path })
            }
            Err(obstacle) => {
                say(self.init.as_deref().unwrap_or(INIT[0]), "FAILED")?;
                fail(obstacle)
            }
        }
    }

    fn ports(&self, server: &NfsServer, dial: &mut dyn Dial) -> Result<NfsPorts, Obstacle> {
        let address = server.address;
        let ports = server.ports(dial).map_err(|error| {
            let rule = &rules::PORTMAP_TIMEOUT;
            let finding = unreachable(address, 111, "the portmapper", &error).rule(rule);
            Box::new(finding.file(format!("{address}:{}", self.path)))
        })?;
        for (port, program) in [(ports.nfs, "NFS"), (ports.mount, "MOUNT")] {
            if port == 0 {
                let finding =
                    Finding::problem(format!("the portmapper of {address} has no {program} of version 3."));
                let remedy =
                    "Start the NFS server, for versions 3: 'pinetboot serve --nfs', or nfs-kernel-server.";
                return Err(Box::new(finding.file(format!("{address}:{}", self.path)).remedy(remedy)));
            }
        }
        Ok(ports)
    }

    fn first_program(
        &self,
        server: &NfsServer,
        ports: NfsPorts,
        root: &Handle,
        in_64_bits: bool,
        dial: &mut dyn Dial,
    ) -> Result<(FoundFile, &'static str), Obstacle> {
        let named = self.init.as_deref().map(|init| [init]);
        let paths: &[&str] = named.as_ref().map_or(&INIT, |named| named);
        let source = format!("{}:{}", server.address, self.path);
        let program = server.find(dial, ports.nfs, root, paths).map_err(|error| match error {
            WalkError::Missing(part) => {
                let finding = Finding::problem(format!("not found: {part}. The kernel has no first program."));
                let remedy = "Check that the served directory is a whole root file system: 'pinetboot import' makes one \
                              from an image.";
                let file = paths.first().copied().unwrap_or_default();
                Box::new(finding.file(file).rule(&rules::NO_FIRST_PROGRAM).remedy(remedy))
            }
            WalkError::Root(CallError::Io(error)) | WalkError::Call(CallError::Io(error)) => {
                let error = CallError::Io(error);
                Box::new(unreachable(server.address, ports.nfs, "the NFS server", &error).file(&source))
            }
            WalkError::Root(error) => {
                let finding = Finding::problem(format!("mounted, and its directory may not be used: {error}."));
                Box::new(finding.file(&source).rule(&rules::MOUNT_REFUSED))
            }
            WalkError::Call(error) => {
                let finding = Finding::problem(format!("mounted, and the first program may not be read: {error}."));
                Box::new(finding.file(&source).rule(&rules::MOUNT_REFUSED))
            }
        })?;
        match kind(&program, in_64_bits) {
            Ok(kind) => Ok((program, kind)),
            Err(why) => {
                let finding = Finding::problem(why);
                let remedy = "Serve the root file system of a system for this Pi (arm64, or armhf with a 32-bit kernel).";
                Err(Box::new(finding.file(program.path).remedy(remedy)))
            }
        }
    }
}

/// The kind of a first program, or the fault that keeps the kernel from starting the program.
fn kind(program: &FoundFile, in_64_bits: bool) -> Result<&'static str, String> {
    if program.mode & 0o111 == 0 {
        return Err(format!("not executable (mode {:04o}).", program.mode & 0o7777));
    }
    let machine = program.head.get(18..20).and_then(|bytes| <[u8; 2]>::try_from(bytes).ok());
    match (program.head.get(..4), machine.map(u16::from_le_bytes)) {
        (Some([b'#', b'!', ..]), _) => Ok("a script"),
        (Some(b"\x7fELF"), Some(EM_AARCH64)) if in_64_bits => Ok("a program for arm64"),
        (Some(b"\x7fELF"), Some(EM_AARCH64)) => {
            Err("a program for arm64, and the kernel has 32 bits.".into())
        }
        (Some(b"\x7fELF"), Some(EM_ARM)) => Ok("a program for 32-bit ARM"),
        (Some(b"\x7fELF"), Some(EM_X86_64)) => Err("a program for x86-64, not for a Pi.".into()),
        (Some(b"\x7fELF"), Some(machine)) => Err(format!("a program for another machine (ELF {machine}).")),
        _ => Err("neither a program (ELF) nor a script.".into()),
    }
}

fn not_mounted(source: &str, port: u16, error: &CallError) -> Obstacle {
    let address = source.split(':').next().and_then(|address| address.parse().ok());
    let finding = match error {
        CallError::Io(_) => {
            unreachable(address.unwrap_or(Ipv4Addr::UNSPECIFIED), port, "the mount service", error)
        }
        CallError::Status(NOENT | NOTDIR) => Finding::problem("the server has no such directory (MNT: NOENT).")
            .rule(&rules::OLD_SERVER_IN_COMMAND_LINE)
            .remedy("Correct nfsroot= in cmdline.txt, or remove root= and nfsroot=: 'pinetboot serve --nfs' adds its own."),
        CallError::Status(PERM | ACCES) => Finding::problem("the server refuses the mount (MNT: ACCES).")
            .rule(&rules::MOUNT_REFUSED)
            .evidence("MOUNT has no text: the server's log has the reason.")
            .remedy(
                "Read the log of the server. 'pinetboot serve' refuses a root whose Pi runs at another address, or that \
                 belongs to another board; an NFS server of Linux needs rw,no_root_squash in /etc/exports.",
            ),
        error => Finding::problem(format!("the server cannot mount the directory (MNT: {error})."))
            .rule(&rules::MOUNT_REFUSED)
            .remedy("Read the log of the server."),
    };
    Box::new(finding.file(source))
}

/// A port that does not answer, or not as it should.
fn unreachable(address: Ipv4Addr, port: u16, service: &str, error: &CallError) -> Finding {
    let (what, remedy) = match error {
        CallError::Io(error) if is_silence(error) => (
            "does not answer".to_owned(),
            "Open the ports 111 and 2049, TCP and UDP, in the firewall of the server: a firewall drops the packets.".to_owned(),
        ),
        CallError::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => (
            "refuses the connection".to_owned(),
            "Start the NFS server there ('pinetboot serve --nfs'), and open the ports 111 and 2049, TCP and UDP, in its \
             firewall."
                .to_owned(),
        ),
        error => (format!("cannot be asked: {error}"), "Check the route to the server, and its log.".to_owned()),
    };
    Finding::problem(format!("{service} of {address} {what} on TCP port {port}.")).remedy(remedy)
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

fn is_version_4(option: &str) -> bool {
    ["vers=4", "nfsvers=4", "v4"].iter().any(|version| option.starts_with(version))
}

/// The programs that the kernel tries without `init=` (init/main.c, kernel_init).
const INIT: [&str; 4] = ["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"];
const PERM: u32 = 1;
const NOENT: u32 = 2;
const ACCES: u32 = 13;
const NOTDIR: u32 = 20;
const EM_ARM: u16 = 40;
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(Option<Ipv4Addr>, String, String), String> {
        NfsRoot::parse(line).map(|root| (root.server, root.path, root.options.join(",")))
    }

    #[test]
    fn command_lines_with_an_nfs_root() {
        let server = Some(Ipv4Addr::new(10, 0, 0, 1));
        let root = |path: &str, options: &str| Ok((server, path.to_owned(), options.to_owned()));
        assert_eq!(
            parse(
                "console=tty1 root=/dev/nfs nfsroot=10.0.0.1:/bd989ae1-x,vers=3,tcp,nolock rw ip=dhcp rootwait\n"
            ),
            root("/bd989ae1-x", "vers=3,tcp,nolock")
        );
        assert_eq!(parse("boot=nfs nfsroot=10.0.0.1:/srv/pi overlayroot=tmpfs"), root("/srv/pi", ""));
        assert_eq!(parse("root=nfs:10.0.0.1:/srv/pi:vers=3"), root("/srv/pi", "vers=3"));
        assert_eq!(parse("root=/dev/nfs nfsroot=/srv/pi,v3"), Ok((None, "/srv/pi".into(), "v3".into())));
        let init = NfsRoot::parse("root=/dev/nfs nfsroot=/srv/pi init=/a init=/bin/sh").unwrap().init;
        assert_eq!(init.as_deref(), Some("/bin/sh"));
    }

    #[test]
    fn command_lines_whose_root_cannot_be_checked() {
        for (line, why) in [
            ("root=/dev/nfs ip=dhcp", "option 17"),
            ("root=PARTUUID=57c84f67-02 rootwait", "root=PARTUUID=57c84f67-02"),
            ("quiet", "no root="),
            ("root=/dev/nfs nfsroot=10.0.0.1:/tftpboot/%s", "%s"),
            ("root=/dev/nfs nfsroot=10.0.0.1:/pi,vers=4.1,proto=tcp", "NFSv4"),
            ("root=/dev/nfs nfsroot=nas.local:/pi", "nas.local"),
            ("dyndbg=\"root=/dev/nfs nfsroot=10.0.0.1:/pi\"", "no root="),
        ] {
            assert!(parse(line).unwrap_err().contains(why), "{line}: {:?}", parse(line));
        }
    }

    #[test]
    fn first_programs() {
        let elf =
            |machine: u16| [b"\x7fELF\x02\x01\x01".as_slice(), &[0; 11], &machine.to_le_bytes()].concat();
        let kind = |head: &[u8], mode, in_64_bits| {
            let program = FoundFile { path: "/sbin/init".into(), mode, len: 1, head: head.to_vec() };
            super::kind(&program, in_64_bits)
        };
        assert_eq!(kind(&elf(183), 0o755, true), Ok("a program for arm64"));
        assert!(kind(&elf(183), 0o755, false).unwrap_err().contains("32 bits"));
        assert_eq!(kind(&elf(40), 0o755, false), Ok("a program for 32-bit ARM"));
        assert!(kind(&elf(62), 0o755, true).unwrap_err().contains("x86-64"));
        assert!(kind(&elf(183), 0o644, true).unwrap_err().contains("not executable (mode 0644)"));
        assert_eq!(kind(b"#!/bin/sh\n", 0o755, true), Ok("a script"));
        assert!(kind(b"", 0o755, true).is_err() && kind(b"\x7fELF", 0o755, true).is_err());
    }
}
