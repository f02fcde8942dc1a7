//! config.txt, parsed far enough to find the files that a Pi requests.
//!
//! The format and the settings are documented in raspberrypi/documentation, config_txt/. Where the documentation is
//! silent, the parser accepts the forms of published config.txt files: a space instead of `=` (`kernel kernel.img`), spaces before a setting,
//! and filters in capitals.
//!
//! Not done: settings that change no file name; the other names that `upstream_kernel=1` makes a Pi 3 prefer for its
//! device trees.

use super::filter::{Board, Filters, Section};

/// The settings of config.txt that select files, for one board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConfigTxt {
    /// `kernel=`
    pub(super) kernel: Option<String>,
    /// `arm_64bit=`, if it is set.
    pub(super) arm_64bit: Option<bool>,
    /// `initramfs NAME[,NAME..] followkernel` or `ramfsfile=`
    pub(super) initramfs: Vec<String>,
    pub(super) auto_initramfs: bool,
    /// `device_tree=`; empty selects none.
    pub(super) device_tree: Option<String>,
    /// The prefix of kernel, initramfs, device tree and command line, and of overlays with a README there.
    pub(super) os_prefix: String,
    pub(super) overlay_prefix: String,
    /// The overlays of `dtoverlay=`, in order, without parameters.
    pub(super) overlays: Vec<String>,
    pub(super) cmdline: String,
    pub(super) armstub: Option<String>,
    /// Whether a Pi 5 requires a device tree for its processor.
    pub(super) os_check: bool,
    /// Whether all other files come from `boot.img`.
    pub(super) boot_ramdisk: bool,
    pub(super) start_file: Option<String>,
    pub(super) fixup_file: Option<String>,
    pub(super) start_x: bool,
    pub(super) start_debug: bool,
    /// `gpu_mem=16`, which calls for the cut-down firmware.
    pub(super) cut_down: bool,
    /// Remarks for the author of the file.
    pub(super) remarks: Vec<String>,
}

impl Default for ConfigTxt {
    fn default() -> Self {
        Self {
            kernel: None,
            arm_64bit: None,
            initramfs: Vec::new(),
            auto_initramfs: false,
            device_tree: None,
            os_prefix: String::new(),
            overlay_prefix: "overlays/".into(),
            overlays: Vec::new(),
            cmdline: "cmdline.txt".into(),
            armstub: None,
            os_check: true,
            boot_ramdisk: false,
            start_file: None,
            fixup_file: None,
            start_x: false,
            start_debug: false,
            cut_down: false,
            remarks: Vec::new(),
        }
    }
}

impl ConfigTxt {
    /// Parses the file as the bootloader does.
    ///
    /// > Include directives are not supported by bootcode.bin or the EEPROM bootloader
    pub(super) fn parse(text: &[u8], board: Board) -> Self {
        let mut none = |_: &str| Ok::<_, std::convert::Infallible>(None);
        match Self::parse_with(text, board, &mut none) {
            Ok(config) => config,
            Err(never) => match never {},
        }
    }

    /// Parses the file as the loader of the system does; `include` fetches included files.
    pub(super) fn parse_with<E>(text: &[u8], board: Board, include: Include<'_, E>) -> Result<Self, E> {
        let mut parser = Parser { board, filters: Filters::default(), config: Self::default(), includes: 0 };
        parser.read(text, include)?;
        Ok(parser.config)
    }
}

/// Fetches an included file; `None` if it is missing.
type Include<'a, E> = &'a mut dyn FnMut(&str) -> Result<Option<Vec<u8>>, E>;

struct Parser {
    board: Board,
    filters: Filters,
    config: ConfigTxt,
    includes: u32,
}

impl Parser {
    fn read<E>(&mut self, text: &[u8], include: Include<'_, E>) -> Result<(), E> {
        for line in String::from_utf8_lossy(text).lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some((filter, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                self.filters.set(filter, &self.board);
                continue;
            }
            let Some(setting) = Setting::parse(line) else { continue };
            match self.filters.section() {
                Section::Skipped => continue,
                Section::Unknown(filter) => {
                    let remark =
                        format!("'{line}' below [{filter}] is skipped: only the Pi can decide this filter");
                    self.remark(remark);
                    continue;
                }
                Section::Applies => {}
            }
            // > There is a 98-character line length limit (previously 78) for entries - any characters past this limit
            // > will be ignored.
            let setting = match line.char_indices().nth(LINE) {
                Some((end, _)) => {
                    let cut = line.get(..end).unwrap_or_default();
                    self.remark(format!(
                        "a line is longer than {LINE} characters, and the Pi reads it as '{cut}'"
                    ));
                    match Setting::parse(cut) {
                        Some(setting) => setting,
                        None => continue,
                    }
                }
                None => setting,
            };
            if setting.key != "include" {
                self.set(&setting);
            } else if self.includes < MOST_INCLUDES {
                self.includes += 1;
                if let Some(text) = include(setting.value)? {
                    self.read(&text, include)?;
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, setting: &Setting<'_>) {
        let Setting { key, value, equals } = *setting;
        let config = &mut self.config;
        let name = || Some(value).filter(|name| !name.is_empty()).map(str::to_owned);
        match key {
            "kernel" => config.kernel = name(),
            "arm_64bit" => config.arm_64bit = Some(is_set(value)),
            "initramfs" if equals => self.remark(format!(
                "'initramfs={value}' is ignored: the setting initramfs is written without '=', as in 'initramfs NAME \
                 followkernel'"
            )),
            "initramfs" | "ramfsfile" => {
                let names = value.split_whitespace().next().unwrap_or_default();
                config.initramfs =
                    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            }
            "auto_initramfs" => config.auto_initramfs = is_set(value),
            "device_tree" => config.device_tree = Some(value.to_owned()),
            "os_prefix" => config.os_prefix = value.to_owned(),
            "upstream_kernel" if is_set(value) && config.os_prefix.is_empty() => {
                config.os_prefix = UPSTREAM.into();
            }
            "overlay_prefix" => config.overlay_prefix = value.to_owned(),
            "dtoverlay" => {
                let name = value.split([',', ':']).next().unwrap_or_default().trim();
                // An empty overlay only ends the parameters of the overlay before.
                if !name.is_empty() {
                    config.overlays.push(name.to_owned());
                }
            }
            "cmdline" => config.cmdline = name().unwrap_or_else(|| "cmdline.txt".into()),
            "armstub" => config.armstub = name(),
            "os_check" => config.os_check = is_set(value),
            "boot_ramdisk" => config.boot_ramdisk = is_set(value),
            "start_file" => config.start_file = name(),
            "fixup_file" => config.fixup_file = name(),
            "start_x" => config.start_x = is_set(value),
            "start_debug" => config.start_debug = is_set(value),
            "gpu_mem" => config.cut_down = value == "16",
            _ => {}
        }
    }

    fn remark(&mut self, remark: String) {
        if !self.config.remarks.contains(&remark) {
            self.config.remarks.push(remark);
        }
    }
}

/// A line with a known setting.
struct Setting<'a> {
    key: &'a str,
    value: &'a str,
    equals: bool,
}

impl<'a> Setting<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let end = line.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(line.len());
        let (key, rest) = line.split_at(end);
        let value = rest.strip_prefix('=').unwrap_or(rest).trim();
        KEYS.split(' ').any(|known| known == key).then_some(Self {
            key,
            value,
            equals: rest.starts_with('='),
        })
    }
}

fn is_set(value: &str) -> bool {
    let number = value.strip_prefix("0x").map_or(value.parse(), |hex| i64::from_str_radix(hex, 16));
    number.is_ok_and(|number| number != 0)
}

const KEYS: &str = "arm_64bit armstub auto_initramfs boot_ramdisk cmdline device_tree dtoverlay fixup_file gpu_mem \
                    include initramfs kernel os_check os_prefix overlay_prefix ramfsfile start_debug start_file \
                    start_x upstream_kernel";

const LINE: usize = 98;

/// Limit of includes: a file may include itself.
const MOST_INCLUDES: u32 = 16;

/// The os_prefix of upstream_kernel=1 (raspberrypi/documentation, config_txt/boot.adoc).
pub(super) const UPSTREAM: &str = "upstream/";

#[cfg(test)]
mod tests {
    use pinetboot_core::pi::Model;

    use super::*;

    fn parse(model: Model, text: &str) -> ConfigTxt {
        ConfigTxt::parse(text.as_bytes(), Board { model, serial: 0xbd98_9ae1 })
    }

    /// As Raspberry Pi OS comes (2024), comments shortened.
    const STOCK: &str = "\
# For more options and information see http://rptl.io/configtxt
#dtparam=i2c_arm=on
dtparam=audio=on
auto_initramfs=1
dtoverlay=vc4-kms-v3d
arm_64bit=1

[cm4]
otg_mode=1

[cm5]
dtoverlay=dwc2,dr_mode=host

[all]
";

    #[test]
    fn the_stock_file() {
        let stock = ConfigTxt {
            auto_initramfs: true,
            arm_64bit: Some(true),
            overlays: vec!["vc4-kms-v3d".into()],
            ..ConfigTxt::default()
        };
        for &model in Model::ALL {
            assert_eq!(parse(model, STOCK), stock);
            assert_eq!(parse(model, &STOCK.replace('\n', "\r\n")), stock);
        }
    }

    #[test]
    fn sections_of_other_models_do_not_count() {
        let text = "\
            [pi4]\nkernel=kernel-4.img\n[pi5]\nkernel=kernel-5.img\nos_check=0\n[all]\n[none]\nkernel=no.img\n\
            [0xbd989ae1]\n[pi5]\ncmdline=mine.txt\n[all]\n device_tree=my.dtb";
        let pi5 = parse(Model::Pi5, text);
        assert_eq!(pi5.kernel.as_deref(), Some("kernel-5.img"));
        assert_eq!((pi5.os_check, pi5.cmdline.as_str()), (false, "mine.txt"));
        assert_eq!(pi5.device_tree.as_deref(), Some("my.dtb"));
        let pi4 = parse(Model::Pi4, text);
        assert_eq!(pi4.kernel.as_deref(), Some("kernel-4.img"));
        assert_eq!((pi4.os_check, pi4.cmdline.as_str()), (true, "cmdline.txt"));
        assert_eq!(parse(Model::Pi3, text).kernel, None);
    }

    #[test]
    fn an_initramfs_line_has_no_equals_sign() {
        let initramfs = |text| parse(Model::Pi5, text).initramfs;
        assert_eq!(initramfs("initramfs initrd.img followkernel"), ["initrd.img"]);
        assert_eq!(initramfs("initramfs a.gz,b.gz 0x00800000"), ["a.gz", "b.gz"]);
        assert_eq!(initramfs("ramfsfile=a.gz,b.gz"), ["a.gz", "b.gz"]);
        assert_eq!(initramfs("initramfs a.gz\ninitramfs b.gz"), ["b.gz"]);
        let wrong = parse(Model::Pi5, "initramfs=initrd.img followkernel");
        assert!(wrong.initramfs.is_empty() && wrong.remarks[0].contains("without '='"), "{wrong:?}");
    }

    #[test]
    fn settings_as_people_write_them() {
        // piCore has spaces and capitals; empty values end a scope or ask for nothing.
        let config = parse(
            Model::Pi4,
            "[PI4]\nkernel kernel-v7l.img\ncmdline cmdline3.txt\n[ALL]\ndevice_tree=\ndtoverlay=",
        );
        assert_eq!(config.kernel.as_deref(), Some("kernel-v7l.img"));
        assert_eq!(config.cmdline, "cmdline3.txt");
        assert_eq!((config.device_tree.as_deref(), config.overlays.len()), (Some(""), 0));
        let config =
            parse(Model::Pi5, "dtoverlay=a,b=c\ndtoverlay=d:e\nos_prefix=current/\nupstream_kernel=1");
        assert_eq!((config.overlays, config.os_prefix.as_str()), (vec!["a".into(), "d".into()], "current/"));
        assert_eq!(parse(Model::Pi3, "upstream_kernel=1").os_prefix, "upstream/");
        assert_eq!(parse(Model::Pi3, "gpu_mem=16\nboot_ramdisk=0x1\narm_64bit=x").arm_64bit, Some(false));
    }

    #[test]
    fn remarks_on_unknown_filters_and_long_lines() {
        let config = parse(Model::Pi5, "[gpio4=1]\nkernel=rescue.img\ndtparam=x\n[all]");
        assert_eq!((config.kernel, config.remarks.len()), (None, 1));
        assert!(config.remarks[0].contains("'kernel=rescue.img' below [gpio4=1] is skipped"));
        let long = format!("initramfs {},b.gz followkernel", "a".repeat(85));
        let config = parse(Model::Pi5, &long);
        assert_eq!(config.initramfs.last().unwrap(), "b.");
        assert!(config.remarks[0].contains("longer than 98"));
    }

    #[test]
    fn includes_stand_where_they_are_named() {
        let board = Board { model: Model::Pi5, serial: 0 };
        let mut asked = Vec::new();
        let mut include = |name: &str| {
            asked.push(name.to_owned());
            Ok::<_, ()>(match name {
                "usercfg.txt" => Some(b"kernel=b.img\n[pi4]\n".to_vec()),
                "loop.txt" => Some(b"include loop.txt".to_vec()),
                _ => None,
            })
        };
        let text = b"kernel=a.img\ninclude usercfg.txt\nkernel=c.img\n[all]\ninclude missing.txt\n[pi4]\ninclude no.txt";
        let config = ConfigTxt::parse_with(text, board, &mut include).unwrap();
        assert_eq!(config.kernel.as_deref(), Some("b.img"), "the filter outlives the included file");
        ConfigTxt::parse_with(b"include loop.txt", board, &mut include).unwrap();
        assert_eq!(asked[..2], ["usercfg.txt", "missing.txt"]);
        assert_eq!(asked.len(), 2 + MOST_INCLUDES as usize);
        assert_eq!(
            ConfigTxt::parse(text, board).kernel.as_deref(),
            Some("c.img"),
            "the bootloader does not include"
        );
    }
}
