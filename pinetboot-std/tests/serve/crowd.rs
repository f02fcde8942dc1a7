//! Many clients at once, one server process.

use pinetboot_core::tftp::Options;

use crate::common::crowd::allow_files;
use crate::common::{Crowd, Fetch, Folder, Serving, content};

/// Number of Pis, each with its own directory.
#[test]
fn two_hundred_clients_of_as_many_files() {
    allow_files(3000);
    let names: Vec<String> = (0..200).map(|number| format!("{number:08x}/kernel_2712.img")).collect();
    let files: Vec<_> = names.iter().map(|name| content(name, 100_000)).collect();
    let files: Vec<_> = names.iter().map(String::as_str).zip(files.iter().map(|file| &file[..])).collect();
    let tree = Folder::tree(&files);
    for (mode, windowsize) in
        [(&[][..], None), (&[][..], Some(16)), (&["--single-port"], None), (&["--single-port"], Some(16))]
    {
        let serving = Serving::start(&tree, &[mode, &["-q"]].concat());
        let mut options = Options::RASPBERRY_PI;
        options.window_size = windowsize;
        let clients =
            files.iter().map(|(name, file)| Fetch::new(serving.address(), name, options, compare(file)));
        let report = Crowd::new(clients).run();
        eprintln!(
            "200 clients {mode:?}, windowsize {windowsize:?}: {report:?}, server's peak {} KiB",
            serving.peak_memory()
        );
        assert_eq!(report.complete, 200, "{report:?}");
        let log = serving.stop();
        assert_eq!(log, "", "nothing to warn of");
    }
}

#[test]
fn a_thousand_clients_of_512_kib() {
    allow_files(3000);
    let file = content("kernel8.img", 512 << 10);
    let tree = Folder::tree(&[("kernel8.img", &file)]);
    let serving = Serving::start(&tree, &["-q"]);
    let options = Options::default().with_block_size(1024);
    let clients = (0..1000).map(|_| Fetch::new(serving.address(), "kernel8.img", options, compare(&file)));
    let report = Crowd::new(clients).run();
    eprintln!("1000 clients: {report:?}, server's peak {} KiB", serving.peak_memory());
    assert_eq!(report.complete, 1000, "{report:?}");
    let log = serving.stop();
    assert_eq!(log, "", "nothing to warn of");
}

/// Takes the bytes of a file and compares them with what it should be.
pub(crate) fn compare(expected: &[u8]) -> impl FnMut(&[u8]) {
    let mut at = 0;
    move |bytes| {
        assert!(expected[at..].starts_with(bytes), "differs within {} bytes from {at} on", bytes.len());
        at += bytes.len();
    }
}
