//! Facts about failed system calls of a network.

use std::sync::Once;

use nix::errno::Errno;

use crate::bus::Bus;
use crate::events::{Server, Tftp};
use crate::net::{Trouble, Watch};

/// Emits failed system calls of a network as facts; the lack of buffers once.
pub fn watch(bus: &Bus) -> Watch {
    let (bus, told) = (bus.clone(), Once::new());
    Watch::new(move |trouble| match trouble {
        Trouble::NotSent { to, error } => {
            if error.raw_os_error() == Some(Errno::ENOBUFS as i32) {
                told.call_once(|| bus.emit(None, Server::NoBuffers { to: *to.ip() }));
            }
            let firewall = error.raw_os_error() == Some(Errno::EPERM as i32);
            bus.emit(*to.ip(), Tftp::NotSent { to: *to, error: error.to_string(), firewall });
        }
        Trouble::NoPort(error) => bus.emit(None, Tftp::NoPort { error: error.to_string() }),
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::events::{Event, Fact, Listener};

    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<Fact>>>);

    impl Listener for Told {
        fn listen(&self, event: &Event) {
            self.0.lock().unwrap().push(event.fact.clone());
        }
    }

    #[test]
    fn a_lack_of_buffers_is_told_once() {
        let told = Told::default();
        let watch = watch(&Bus::new(vec![Box::new(told.clone())]));
        for errno in [Errno::EHOSTUNREACH, Errno::ENOBUFS, Errno::ENOBUFS] {
            let to = "192.0.2.7:49152".parse().unwrap();
            watch.tell(&Trouble::NotSent { to, error: io::Error::from(errno) });
        }
        let told = told.0.lock().unwrap();
        let lacks = told.iter().filter(|fact| matches!(fact, Fact::Server(Server::NoBuffers { .. })));
        assert_eq!((lacks.count(), told.len()), (1, 4));
    }
}
