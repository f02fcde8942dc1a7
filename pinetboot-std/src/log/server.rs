//! Lines about the program: start, stop and reload, and remarks on the configuration.

use tracing::{debug, error, info, warn};

use crate::disk_mode::DiskMode;
use crate::events::{Server, Transfers};
use crate::finding::Severity;

pub(super) fn log(fact: &Server) {
    match fact {
        // Standard output has the same line, for scripts that wait.
        Server::Ready { serving } => debug!("ready, serving {serving}"),
        Server::SettingRenamed { old, new } => {
            warn!(old, new, "the setting {old} is now named {new}: rename it in the configuration file");
        }
        Server::NoEffect { setting, why } => warn!(setting, "{setting} has no effect: {why}"),
        Server::PisKnown { directories, listed } => {
            info!(
                directories,
                listed, "Pis with a directory in the tree: {directories}; Pis in the inventory: {listed}"
            );
        }
        Server::Finding(finding) => {
            let rule = finding.rule.map(|rule| rule.number);
            let text = finding.to_string();
            let text = text.trim_start_matches("Warning: ").trim_start_matches("Note: ").replace('\n', " ");
            match finding.severity {
                Severity::Note => debug!(rule, "{text}"),
                Severity::Problem | Severity::Warning => warn!(rule, "{text}"),
            }
        }
        Server::DhcpOff => info!(
            "DHCP is off: a Pi finds this server only if the network's DHCP server names this server in option 66, or the Pi's \
             bootloader configuration in TFTP_IP. 'pinetboot router-config' prints both"
        ),
        Server::Waits { why } => warn!("waiting: {why}"),
        Server::InterfaceChosen { interface } => {
            info!(
                interface,
                "DHCP answers on {interface}, the interface of the default route; --interface chooses another"
            );
        }
        Server::DefaultRoute { interface, now } if interface == now => {
            info!(interface, "the default route has the interface {interface} again, on which DHCP answers");
        }
        Server::DefaultRoute { interface, now } => warn!(
            interface,
            "the default route has the interface {now} now, and DHCP answers on {interface} still. Restart the server, or name the \
             interface with --interface"
        ),
        Server::CannotFollow { error } => warn!(
            "cannot list the interfaces: {error}. Until a later try succeeds, a change of addresses is not followed; raise the limit of open files \
             (LimitNOFILE= of the unit) if descriptors lack"
        ),
        Server::InterfaceGone { interface } => {
            warn!(interface, "the interface {interface} is gone: nothing is served there until it is back");
        }
        Server::InterfaceRenamed { interface, now } => warn!(
            interface,
            "the interface {interface} has the name {now} now: TFTP and NFS answer there still, DHCP does not. Give it its name again, or \
             restart the server with --interface {now}"
        ),
        Server::InterfaceBack { interface } => {
            info!(interface, "the interface {interface} is back, and served again");
        }
        Server::ListenAddress { address, is_there: false } => warn!(
            %address,
            "no interface has {address} any more, which --listen names: nothing is served there until one has it again"
        ),
        Server::ListenAddress { address, is_there: true } => {
            info!(%address, "an interface has {address} again: it is served");
        }
        Server::NoConfig { tree } => {
            warn!(
                "no config.txt in {tree} nor in its directories: a Pi 5 does not boot without one. Copy the files of the Pi's boot \
                 partition there"
            );
        }
        Server::TreeReplaced { tree } => {
            info!(tree, "another directory is at {tree}: it is served from here on");
        }
        Server::TreeMissing { tree, error } => {
            warn!(tree, "{error}: the server goes on with the directory that it opened there")
        }
        Server::NoRoots => info!("the images hold boot files only: NFS serves no root"),
        Server::NoOverlayRoot { root } => warn!(
            "{root} has no overlayroot: Pis mount the root read-only and cannot write. Install the package overlayroot in \
             that root, or use --nfs-mode overlay"
        ),
        Server::WritableRoot => info!(
            "the root is served read-write: the first Pi that mounts the root keeps it, other Pis are refused"
        ),
        Server::BootFilesElsewhere { tree } => info!(
            "Serving boot files from {tree}. Kernel upgrades made on a Pi go to its own /boot/firmware and will not be \
             booted; omit TREE to serve those"
        ),
        Server::Portmapper { port: None } => info!("NFS is registered with the system's portmapper"),
        Server::Portmapper { port: Some(port) } => {
            info!("the portmapper listens on port {port}: Pis look for a portmapper on port 111 only");
        }
        Server::Unpacking { image, percent } => info!(image, percent, "unpacking {image}: {percent} %"),
        Server::DisksServed { image, mode: DiskMode::Private, place } => {
            info!(image, place, "NBD: each Pi gets its own copy-on-write disk on {image}, in {place}");
        }
        Server::DisksServed { image, mode: DiskMode::Ram, .. } => {
            info!(image, "NBD: Pis read {image}, and write to their memory");
        }
        Server::DisksServed { image, mode: DiskMode::Rw, .. } => {
            info!(
                image,
                "NBD: {image} is served read-write: the first Pi that connects keeps the image, other Pis are refused"
            );
        }
        Server::RootsServed { how } => info!("NFS: {how}"),
        Server::LeftoversRemoved { place, number } => {
            info!(place, number, "removed the temporary files of killed processes in {place}: {number}");
        }
        Server::DiskHangs { place, seconds } => warn!(
            place,
            "{place} does not answer for {seconds} s, and its clients get an ERROR. Check the disk or the network file system below \
             this path"
        ),
        Server::DiskAnswers { place, seconds } => {
            info!(place, seconds, "{place} answers again, after {seconds} s");
        }
        Server::FewNeighbours { pis, most } => warn!(
            pis,
            most,
            "the kernel's neighbour table has {most} places for {pis} known Pis, and Pis beyond get no packets: sysctl \
             net.ipv4.neigh.default.gc_thresh3={}, and gc_thresh2 half of it",
            4 * pis
        ),
        Server::NeighboursByTable { why } => warn!(
            why,
            "the kernel names no single neighbour ({why}): each look-up of a MAC address reads the whole table, which is slow with many \
             Pis. RTM_GETNEIGH requires Linux 5.0, and in a container AF_NETLINK sockets"
        ),
        Server::KernelDrops { lack, packets } => warn!(
            packets,
            "the kernel dropped {packets} packets of this machine: {lack}. Raise the limit: {}. Later drops are not logged",
            lack.remedy()
        ),
        Server::FewForTransfers { allowed, transfers } => warn!(
            allowed,
            transfers,
            "the limit of {allowed} open files is too low: it allows {transfers} transfers. Raise the limit (ulimit -Hn, LimitNOFILE=), \
             or lower --max-transfers"
        ),
        Server::FewForLayers { allowed, pis } => warn!(
            allowed,
            pis,
            "the limit of {allowed} open files is too low: it allows {pis} Pis with a layer. Raise the limit (ulimit -Hn, LimitNOFILE=), \
             or lower --max-pis"
        ),
        Server::Confined { user: Some(user) } => {
            info!(user = %user, "the server runs as user {user} without capabilities")
        }
        Server::Confined { user: None } => debug!("the server stays the same user, in a sandbox"),
        Server::SandboxLacks { part, why } if part == "user" => warn!(
            "the server stays root: {why}. Serve boot files as a user that can read them, and write uploads and leases, with \
             --user"
        ),
        Server::SandboxLacks { part, why } => warn!(
            part = %part,
            "the sandbox lacks {part}: {why}. --require-sandbox refuses to serve without it"
        ),
        Server::NeedsRestart => {
            warn!(
                "changes of addresses, ports, DHCP, transfers, threads, roots, the user or the log format require a restart"
            );
        }
        Server::Reloaded { serving } => info!("configuration reloaded, serving {serving}"),
        Server::NotReloaded { error } => {
            error!("configuration not reloaded, the previous one stays in force: {error}")
        }
        Server::NoNotify { error } => {
            warn!(
                "no notification to the service manager, NOTIFY_SOCKET or PINETBOOT_HEALTH cannot be used: {error}"
            )
        }
        Server::NoControl { place: None, error } => debug!("no control socket: {error}"),
        Server::NoControl { place: Some(place), error } => info!(
            place,
            "no control socket at {place}: {error}. 'pinetboot status' does not reach this server: --control names another place"
        ),
        Server::NotDelivered { why, dropped } => {
            let more = match dropped {
                0 => String::new(),
                more => format!("; events dropped before, as the queue was full: {more}"),
            };
            warn!(dropped, "not delivered to on-event: {why}{more}");
        }
        Server::HooksEnded => {
            warn!("the process of on-event ended: no event is delivered until the server is restarted")
        }
        Server::Acted { what } => info!("by the page: {what}"),
        Server::ThreadEnded { thread, why } => {
            error!(
                thread,
                "thread {thread} {why}: the server stops. Restart the server, and report a panic with the lines above"
            );
        }
        Server::StopOverdue { service, threads, within } => error!(
            service,
            "{} did not end within {} s of the stop: the process ends without {}",
            if service.is_empty() { "the start" } else { service },
            within.as_secs(),
            match threads.as_slice() {
                [thread] => format!("thread {thread}"),
                threads => format!("threads {}", threads.join(", ")),
            }
        ),
        Server::LoopStalled { thread, interval } => error!(
            thread,
            "loop {thread} did not turn for {} s: the service manager's watchdog gets no notification",
            interval.as_secs_f32()
        ),
        Server::LoopTurns { thread } => info!(thread, "loop {thread} turns again"),
        Server::HeardLate { by, lost: 0 } => info!(
            by,
            "verdicts wait: loop {by} handles messages more than a second late. The machine is busy, or was stopped"
        ),
        Server::HeardLate { by, lost } => info!(
            by,
            lost, "verdicts wait: messages to loop {by} that were lost because its queue was full: {lost}"
        ),
        Server::Network { what } => warn!("{what}"),
        Server::Stopped(Transfers { open, rejected }) => {
            match open {
                0 => info!("stopped"),
                open => info!("stopped, open transfers ended: {open}"),
            }
            debug!("datagrams outside of any transfer: {rejected}");
        }
    }
}
