//! NFS-Ganesha, an NFS server in user space, for comparison.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::namespace::{Namespace, Process, SOON};

/// NFS-Ganesha with a portmapper; both run until the value is dropped.
pub(crate) struct Ganesha {
    _process: Process,
    _files: TempDir,
}

impl Ganesha {
    /// Serves a directory, at the path that it has here, read-write and to root as root.
    pub(crate) fn start(network: &Namespace, directory: &Path) -> Self {
        let files = tempfile::tempdir().unwrap();
        let (config, script) = (files.path().join("config"), files.path().join("start"));
        fs::write(&config, CONFIG.replace("DIRECTORY", directory.to_str().unwrap())).unwrap();
        fs::write(&script, SCRIPT).unwrap();
        let mut command = network.command("unshare"); // it has /run to itself, and leaves no process behind
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh"]);
        command.arg(script).arg(config);
        let mut process = Process::start(command);
        process.expect("NFS SERVER INITIALIZED", SOON);
        Self { _process: process, _files: files }
    }
}

const CONFIG: &str = "
NFS_CORE_PARAM { Protocols = 3; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; }
EXPORT_DEFAULTS { SecType = sys; Squash = No_Root_Squash; Access_Type = RW; Protocols = 3; Transports = TCP; }
EXPORT { Export_Id = 1; Path = DIRECTORY; Pseudo = DIRECTORY; FSAL { Name = VFS; } }
";

/// rpcbind goes into the background when it listens.
const SCRIPT: &str = "
mount -t tmpfs none /run && mkdir /run/ganesha
rpcbind
exec ganesha.nfsd -F -L /dev/stdout -f \"$1\" -p /run/ganesha.pid
";
