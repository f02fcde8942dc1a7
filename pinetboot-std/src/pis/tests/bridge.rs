//! Pis behind a bridge of Wi-Fi or a relay: the kernel's neighbour is the bridge for all of them.

use super::*;

const BRIDGE: Mac = [2, 0, 0, 0, 0, 0xbb];

/// A boot as far as the kernel: whether it began one, and whether its DHCP was told as unused (rule 11).
fn boot_behind(world: &mut World, serial: u32, mac: Mac, address: Ipv4Addr, xid: u32) -> (Option<u32>, bool) {
    let began = world.discover(mac, serial, xid);
    world.lease(mac, address);
    let pi = Prefix::Serial(serial);
    let mut follows = world.fetch(address, Some(BRIDGE), &format!("{pi}/config.txt"));
    follows.extend(world.fetch(address, Some(BRIDGE), &format!("{pi}/kernel8.img")));
    let unused = |fact: &Fact| matches!(fact, Fact::Boot(events::Boot::KernelSent { dhcp_unused: true, .. }));
    assert!(follows.iter().any(|fact| matches!(fact, Fact::Boot(events::Boot::KernelSent { .. }))));
    (began, follows.iter().any(unused))
}

#[test]
fn pis_behind_one_mac_address_keep_their_names() {
    let mut world = World::new();
    world.registry.set_watch(pinetboot_core::pi::boot::Hearing::ALL, 1);
    for round in 1..=2 {
        for (serial, mac, address) in [(1, MAC_ONE, HERE), (2, MAC_TWO, THERE)] {
            let xid = 100 * round + serial;
            assert_eq!(boot_behind(&mut world, serial, mac, address, xid), (Some(round), false), "{serial}");
            let pi = Prefix::Serial(serial);
            assert!(world.mount(pi, address, Some(BRIDGE)).is_ok());
            assert_eq!(world.registry.name_at(address), Some(pi));
            assert!(world.registry.pi(Prefix::Mac(mac)).is_none(), "one Pi, one name");
            assert_eq!(world.registry.pi(pi).unwrap().mac, Some(mac), "not the bridge's");
        }
        world.later(100);
    }
}

/// The bridge's address takes nothing from what tells two boards apart.
#[test]
fn another_board_behind_the_bridge_with_the_same_serial_number_has_a_name_of_its_own() {
    let mut world = World::new();
    boot_behind(&mut world, 1, MAC_ONE, HERE, 7);
    world.discover(MAC_TWO, 1, 8);
    assert!(world.registry.pi(Prefix::Mac(MAC_TWO)).is_some());
    // And a bridge proves nothing of a board that was there without one.
    let mut world = World::new();
    world.boot(HERE, Some(MAC_ONE), ONE);
    world.mount(ONE, HERE, Some(MAC_ONE)).unwrap();
    world.later(100);
    boot_behind(&mut world, 1, MAC_ONE, THERE, 9);
    assert!(world.check(ONE, THERE, Some(BRIDGE)).is_err(), "its proven address is another");
}
