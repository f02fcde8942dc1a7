//! The services that `serve` runs.

use std::fmt;

use crate::supervisor::Supervisor;

/// A service.
pub(super) trait Service {
    /// The protocol, or the work; the names of the service's threads begin so.
    fn name(&self) -> &'static str;

    /// The name of the protocol and the addresses at which clients reach the service, for the `ready` line: `nfs 192.168.1.2:2049`.
    fn describe(&self) -> Option<String> {
        None
    }
}

#[cfg(feature = "web")]
impl Service for crate::web::Web {
    fn name(&self) -> &'static str {
        Self::name(self)
    }

    fn describe(&self) -> Option<String> {
        Self::describe(self)
    }
}

/// Running services, in the order of their start. Dropping a service stops it, and the last one started is dropped first: a
/// service that sends clients to another one starts after that one and stops before it.
pub(super) struct Services {
    started: Vec<Box<dyn Service>>,
    supervisor: Supervisor,
}

impl Services {
    /// No service yet.
    pub(super) const fn new(supervisor: Supervisor) -> Self {
        Self { started: Vec::new(), supervisor }
    }

    /// Adds a started service; `None` is a service that is off.
    pub(super) fn add(&mut self, started: Option<impl Service + 'static>) {
        self.started.extend(started.map(|service| Box::new(service) as Box<dyn Service>));
    }

    /// Each service's description, the last one started first.
    pub(super) fn describe(&self) -> impl Iterator<Item = String> {
        self.started.iter().rev().filter_map(|service| service.describe())
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.supervisor.stop();
        while let Some(last) = self.started.pop() {
            self.supervisor.waits_for(last.name());
            drop(last);
        }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.describe()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    struct Named(&'static str, Rc<RefCell<Vec<&'static str>>>);

    impl Service for Named {
        fn name(&self) -> &'static str {
            self.0
        }

        fn describe(&self) -> Option<String> {
            Some(self.0.into())
        }
    }

    impl Drop for Named {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.0);
        }
    }

    #[test]
    fn the_last_one_started_is_named_first_and_ends_first() {
        let ended = Rc::default();
        let mut services = Services::new(Supervisor::new().unwrap());
        services.add(Some(Named("nfs", Rc::clone(&ended))));
        services.add(None::<Named>);
        services.add(Some(Named("dhcp", Rc::clone(&ended))));
        assert_eq!(services.describe().collect::<Vec<_>>(), ["dhcp", "nfs"]);
        assert!(ended.borrow().is_empty());
        drop(services);
        assert_eq!(*ended.borrow(), ["dhcp", "nfs"]);
    }
}
