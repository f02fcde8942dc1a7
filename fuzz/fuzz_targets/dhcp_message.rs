//! Any message is read to its last option and is unchanged after emitting and parsing, and clients choose from its offers.
#![no_main]

use core::net::Ipv4Addr;

use libfuzzer_sys::fuzz_target;
use pinetboot_core::Instant;
use pinetboot_core::dhcp::{BootClient, BootServer, Client, Message, Offer, OptionCode, Profile, pxe};

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = Message::parse(bytes) else { return };
    let mut out = vec![0; bytes.len() + 16];
    let len = message.emit(&mut out).expect("what came in fits where it came from");
    assert_eq!(Message::parse(&out[..len]), Ok(message));

    let _ = format!("{message} {:?} {:?}", message.pi(), message.architecture());
    for option in message.options() {
        let _ = option.to_string();
        assert!(message.option(option.code).is_some());
    }
    for server in BootServer::all(&message) {
        let _ = server.to_string();
    }
    let _ = (message.boot_file(), message.server_name(), message.vendor_class());
    if let Some(vendor) = message.option(OptionCode::VENDOR) {
        let mut joined = vec![0; vendor.len()];
        for option in pxe::sub_options(vendor.joined(&mut joined)) {
            let _ = option.to_string();
        }
    }
    let from = Ipv4Addr::new(10, 77, 0, 1);
    let offer = Offer::new(from, message);
    for client in [BootClient::PiEeprom, BootClient::PiBootRom, BootClient::Pxe, BootClient::UBoot] {
        match client.choose(&[offer, offer]) {
            Ok(choice) => drop(choice.to_string()),
            Err(no_boot) => drop(no_boot.to_string()),
        }
    }
    let mac = message.header.hardware.mac().unwrap_or_default();
    let mut client = Client::new(Profile::Plain, mac, message.header.xid);
    for _ in 0..3 {
        client.poll(Instant::ZERO);
        client.handle(Instant::ZERO, from, &message);
    }
});
