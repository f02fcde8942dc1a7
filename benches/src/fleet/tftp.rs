//! One TFTP request of a Pi at a time: RFC 1350, 2347 to 2349, in lock-step. Written anew, as in `load`.

use super::dhcp::serial;

/// A request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) name: &'static str,
    pub(super) want: Want,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Missing,
    /// The first answer, which an ERROR ends.
    Probe,
    File,
}

/// The state of a request.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) ask: Ask,
    /// The server's port; 0 before its first answer.
    pub(super) tid: u16,
    block_size: usize,
    /// Blocks received.
    blocks: u64,
    pub(super) bytes: u64,
    /// The last packet, for the case that nothing follows.
    pub(super) last: Vec<u8>,
}

/// The effect of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Stray,
    /// `last` has to be sent.
    Answer,
    /// The request ended as wanted; `last` has to be sent if it is not empty.
    Done,
    Failed,
}

impl Transfer {
    pub(super) fn new(pi: usize, ask: Ask) -> Self {
        let last = format!("\0\x01{:08x}/{}\0octet\0tsize\x000\0blksize\x001468\0", serial(pi), ask.name);
        Self { ask, tid: 0, block_size: 512, blocks: 0, bytes: 0, last: last.into_bytes() }
    }

    pub(super) fn handle(&mut self, from: u16, packet: &[u8]) -> Heard {
        if self.tid != 0 && from != self.tid {
            return Heard::Stray;
        }
        let (Some(&[0, kind]), Some(rest)) = (packet.first_chunk(), packet.get(2..)) else {
            return Heard::Stray;
        };
        self.tid = from;
        match (kind, self.ask.want) {
            (ERROR, Want::Missing) => {
                self.last.clear();
                Heard::Done
            }
            (OACK | DATA, Want::Probe) => {
                self.last = b"\0\x05\0\0Early terminate\0".into();
                Heard::Done
            }
            (OACK, Want::File) if self.blocks == 0 => {
                let text = String::from_utf8_lossy(rest).into_owned();
                let mut words = text.split('\0');
                while let (Some(option), Some(value)) = (words.next(), words.next()) {
                    if option.eq_ignore_ascii_case("blksize") {
                        self.block_size = value.parse().unwrap_or(512);
                    }
                }
                self.last = vec![0, 4, 0, 0];
                Heard::Answer
            }
            (DATA, Want::File) => self.take(rest),
            _ => Heard::Failed,
        }
    }

    fn take(&mut self, rest: &[u8]) -> Heard {
        let Some((block, data)) = rest.split_first_chunk() else { return Heard::Stray };
        if u16::from_be_bytes(*block) != (self.blocks + 1) as u16 {
            return Heard::Stray; // RFC 1123: no second ACK
        }
        self.blocks += 1;
        self.bytes += data.len() as u64;
        self.last = [&[0, 4][..], block].concat();
        if data.len() < self.block_size { Heard::Done } else { Heard::Answer }
    }
}

const DATA: u8 = 3;
const ERROR: u8 = 5;
const OACK: u8 = 6;

/// What a Pi 5 with Raspberry Pi OS asks for, in its order (UART logs of NumberOneGit/rpi5-uefi issue 8 and raspberrypi/linux issue
/// 7319); without an initramfs.
pub(super) const BOOT: [Ask; 14] = [
    Ask { name: "config.txt", want: Want::File },
    Ask { name: "pieeprom.sig", want: Want::Missing },
    Ask { name: "bcm2712-rpi-5-b.dtb", want: Want::Probe },
    Ask { name: "config.txt", want: Want::File },
    Ask { name: "config.txt", want: Want::File },
    Ask { name: "kernel_2712.img", want: Want::Probe },
    Ask { name: "initramfs_2712", want: Want::Missing },
    Ask { name: "bcm2712-rpi-5-b.dtb", want: Want::File },
    Ask { name: "overlays/overlay_map.dtb", want: Want::File },
    Ask { name: "config.txt", want: Want::File },
    Ask { name: "overlays/vc4-kms-v3d-pi5.dtbo", want: Want::File },
    Ask { name: "cmdline.txt", want: Want::File },
    Ask { name: "armstub8-2712.bin", want: Want::Missing },
    Ask { name: "kernel_2712.img", want: Want::File },
];
