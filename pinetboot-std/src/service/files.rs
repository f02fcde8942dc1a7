//! The files of the service, as the packages have them.

use super::Unit;

/// The path of the program in the units.
pub(super) const PROGRAM: &str = "/usr/local/bin/pinetboot";
/// The configuration.
pub(crate) const CONFIGURATION: &str = "/etc/pinetboot.toml";
/// The first configuration.
pub(super) const DEFAULT_CONFIGURATION: &str = include_str!("../../systemd/pinetboot.toml");
/// The user, for systemd-sysusers.
pub(super) const SYSUSERS: &str = include_str!("../../systemd/pinetboot.sysusers");
/// The place of that.
pub(super) const SYSUSERS_PATH: &str = "/etc/sysusers.d/pinetboot.conf";
/// The beginning of a file that `install` wrote.
pub(super) const MARK: &str = "# Written by 'pinetboot service install', and overwritten by the next one: 'systemctl edit' keeps changes.\n";
/// The first version with Type=notify-reload.
const NOTIFY_RELOAD: u32 = 253;

impl Unit {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Roots, Self::BootFiles];

    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::BootFiles => "pinetboot.service",
            Self::Roots => "pinetboot-roots.service",
        }
    }

    /// The name of the unit of its ports.
    pub(super) const fn socket(self) -> &'static str {
        match self {
            Self::BootFiles => "pinetboot.socket",
            Self::Roots => "pinetboot-roots.socket",
        }
    }

    /// The unit of its ports.
    pub(super) fn socket_text(self) -> String {
        MARK.to_owned()
            + match self {
                Self::BootFiles => include_str!("../../systemd/pinetboot.socket"),
                Self::Roots => include_str!("../../systemd/pinetboot-roots.socket"),
            }
    }

    /// The other one: the two want the same ports.
    pub(super) const fn other(self) -> Self {
        match self {
            Self::BootFiles => Self::Roots,
            Self::Roots => Self::BootFiles,
        }
    }

    /// The place of a unit.
    pub(super) fn path(name: &str) -> String {
        format!("/etc/systemd/system/{name}")
    }

    /// The place of the drop-in with the directories of a configuration.
    pub(super) fn drop_in_path(self) -> String {
        format!("/etc/systemd/system/{}.d/directories.conf", self.name())
    }

    /// The unit for a program at this path. From systemd 253 on, `systemctl reload` waits for the end of the reload.
    pub(super) fn text(self, program: &str, systemd: Option<u32>) -> String {
        let packaged = match self {
            Self::BootFiles => include_str!("../../systemd/pinetboot.service"),
            Self::Roots => include_str!("../../systemd/pinetboot-roots.service"),
        };
        let text = packaged.replace(PROGRAM, program);
        let text = match systemd {
            Some(NOTIFY_RELOAD..) => {
                let lines = text.lines().filter(|line| !line.starts_with("ExecReload="));
                lines
                    .map(|line| {
                        if line == "Type=notify" { "Type=notify-reload" } else { line }.to_owned() + "\n"
                    })
                    .collect()
            }
            _ => text,
        };
        MARK.to_owned() + &text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_names_the_program_and_the_reload_that_systemd_has() {
        for unit in Unit::ALL {
            let old = unit.text("/opt/pinetboot", Some(252));
            assert!(old.contains("\nExecStart=/opt/pinetboot serve ") && !old.contains(PROGRAM), "{old}");
            assert!(
                old.contains("\nType=notify\n") && old.contains("\nExecReload=/bin/kill -HUP $MAINPID\n")
            );
            assert_eq!(old, unit.text("/opt/pinetboot", None));
            let new = unit.text(PROGRAM, Some(257));
            assert!(new.contains("\nType=notify-reload\n") && !new.contains("ExecReload"), "{new}");
            assert_eq!(new.lines().count() + 1, old.lines().count());
        }
    }

    #[test]
    fn a_unit_lets_the_server_give_up_its_capabilities() {
        for unit in Unit::ALL {
            let text = unit.text(PROGRAM, None);
            let filters = text.lines().filter_map(|line| line.strip_prefix("SystemCallFilter="));
            // As systemd reads them: a line adds calls, or takes some away.
            let allowed = filters.fold(false, |allowed, line| match line.strip_prefix('~') {
                Some(taken) => allowed && !taken.contains("@privileged"),
                None => allowed || ["@system-service", "capset"].iter().any(|with| line.contains(with)),
            });
            assert!(allowed, "{}", unit.name());
        }
    }

    #[test]
    fn the_first_configuration_is_valid() {
        let settings: crate::config::Settings = toml::from_str(DEFAULT_CONFIGURATION).unwrap();
        assert!(settings.resolve().unwrap().require_sandbox);
    }
}
