//! `pinetboot health`: whether the server in a container works, for HEALTHCHECK and Kubernetes' probes.
//!
//! The server writes to the file that the variable PINETBOOT_HEALTH names, every 10 s while all of its loops turn: TFTP, DHCP, the
//! clock, and the process of NFS. The file is opened before the server gives up its rights. A request by network would say less: sockets that
//! are bound to an interface answer no request from the same machine.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exit::{Exit, Failed};

/// The file, to which the server writes.
#[derive(Debug)]
pub(crate) struct Health(File);

/// Options of `health`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Look at this file, to which the server writes [default: the file that the variable PINETBOOT_HEALTH names]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Health {
    /// The file that PINETBOOT_HEALTH names, made empty; `None` if the variable is not set.
    pub(crate) fn from_environment() -> io::Result<Option<Self>> {
        place().map(|place| Self::at(&place)).transpose()
    }

    fn at(place: &Path) -> io::Result<Self> {
        let file = File::create(place)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", place.display())))?;
        Ok(Self(file))
    }

    /// All loops turn.
    pub(crate) fn works(&self) {
        // On a full disk the health check fails.
        let _old = self.0.write_all_at(WORKS, 0);
    }

    /// The server stops.
    pub(crate) fn stops(&self) {
        let _old = self.0.set_len(0);
    }
}

/// Looks whether the server works.
///
/// # Errors
///
/// If it does not.
pub fn run(options: &Args) -> Result<Exit, Failed> {
    let place = options.file.clone().or_else(place).ok_or_else(|| {
        Failed::new(
            Exit::Usage,
            "no file to look at: set PINETBOOT_HEALTH for the server and for this command",
        )
    })?;
    look(&place).map(|()| Exit::Success).map_err(|why| Failed::new(Exit::Failure, why))
}

fn look(place: &Path) -> Result<(), String> {
    let written = fs::metadata(place).and_then(|file| Ok((file.len(), file.modified()?)));
    let (len, at) = written.map_err(|error| format!("{}: {error}", place.display()))?;
    if len == 0 {
        return Err("the server is not ready, or stops".into());
    }
    // A time in the future: the clock was set back.
    let age = at.elapsed().unwrap_or_default();
    if age > OLDEST {
        return Err(format!(
            "the server's loops have not all turned for {} s; its log names the loop",
            age.as_secs()
        ));
    }
    Ok(())
}

fn place() -> Option<PathBuf> {
    env::var_os(VARIABLE).filter(|place| !place.is_empty()).map(PathBuf::from)
}

/// The period of the server's look at its loops, as WATCHDOG_USEC has it; `None` if PINETBOOT_HEALTH is not set.
pub(crate) fn period() -> Option<Duration> {
    place().map(|_| PERIOD)
}

const VARIABLE: &str = "PINETBOOT_HEALTH";
const WORKS: &[u8] = b"works\n";
/// The loops are looked at twice in a period.
const PERIOD: Duration = Duration::from_secs(20);
const OLDEST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_server_is_healthy_from_ready_to_stop_while_it_writes() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("health");
        assert!(look(&place).unwrap_err().contains("No such file"));
        assert!(Health::at(&directory.path().join("none/health")).is_err());
        let health = Health::at(&place).unwrap();
        assert!(look(&place).unwrap_err().contains("not ready"));
        health.works();
        look(&place).unwrap();
        let age = |seconds| SystemTime::now() - Duration::from_secs(seconds);
        health.0.set_modified(age(29)).unwrap();
        look(&place).unwrap();
        health.0.set_modified(age(31)).unwrap();
        assert!(look(&place).unwrap_err().contains("for 31 s"));
        health.0.set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
        look(&place).unwrap();
        health.works();
        health.stops();
        assert!(look(&place).is_err());
        // The server was started again.
        health.works();
        let _second = Health::at(&place).unwrap();
        assert!(look(&place).is_err());
    }
}
