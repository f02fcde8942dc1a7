//! The appliance with a file that configures it.

use super::*;

/// The router gives addresses to the appliance and to the Pi, which merges its offer with the appliance's.
#[test]
#[ignore = "needs root, network namespaces, curl, dnsmasq and PINETBOOT_APPLIANCE_TAP; run by .ci/run"]
fn on_a_tap_beside_a_router_it_is_a_proxy_and_a_pi_has_its_tree() {
    let files = Files::new(1 << 20);
    let configuration = "dhcp = \"proxy\" # beside the router\n\n[pi.00000001]\ntree = \"kitchen\"\n";
    files.add("pinetboot.toml", configuration);
    files.add("kitchen/config.txt", "# kitchen\n");
    let (network, router, pi) = (Namespace::new("appliance"), Namespace::new("router"), Namespace::new("pi"));
    network.tap("tap0");
    let port = |interface| End { of: &network, interface, address: None };
    cable(port("one"), end(&router, "eth", "10.77.0.1/24"), 1500);
    cable(port("two"), end(&pi, "eth", "10.77.0.9/24"), 1500);
    network.bridge("lan", &["tap0", "one", "two"]);
    let _router = dnsmasq(&router, &[]);

    let mut command = network.command(env::var_os("PINETBOOT_APPLIANCE_TAP").unwrap());
    command.arg("tap0").arg(files.archive());
    let mut appliance = Process::start(command);
    let line = appliance.line("serving on 10.77.0.", SOON);
    let address = line.rsplit(' ').next().unwrap();

    let mut command = pi.command(PINETBOOT);
    command.args(["simulate", "--interface", "eth", "--model", "pi5"]);
    let (status, said) = Process::start(command).finish(4 * SOON);
    println!("{said}");
    assert!(status.success(), "{said}");

    for (name, expected) in [
        ("00000001/config.txt", "# kitchen\n"),
        ("00000002/config.txt", CONFIG_TXT),
        ("config.txt", CONFIG_TXT),
    ] {
        let mut curl = pi.command("curl");
        curl.args(["-sS", &format!("tftp://{address}/{name}")]);
        let (status, said) = Process::start(curl).finish(SOON);
        assert!(status.success() && said == expected, "{name}: {said}");
    }
}

/// The file may have been meant for a network where one more DHCP server does harm.
#[test]
#[ignore = "needs root, network namespaces, curl and PINETBOOT_APPLIANCE_TAP; run by .ci/run"]
fn on_a_tap_a_wrong_file_turns_dhcp_off_and_nothing_else() {
    let files = Files::new(1 << 20);
    let network = network();
    let offers = |appliance: &mut Process, seconds: &str| {
        let mut probe = network.command(PINETBOOT);
        probe.args(["probe", "--interface", "tap0", "--seconds", seconds]);
        let (status, said) = Process::start(probe).finish(SOON);
        println!("{status}: {said}");
        let _alive = appliance.id();
        status.success()
    };
    {
        let mut appliance = on_tap(&network, &files);
        appliance.line("no other DHCP server answers", SOON);
        assert!(offers(&mut appliance, "1"), "the test misses offers that the server makes");
    }
    files.add("pinetboot.toml", "# the line after this one is wrong\ndhcp = \"prxy\"\n");
    let mut command = network.command(env::var_os("PINETBOOT_APPLIANCE_TAP").unwrap());
    command.arg("tap0").arg(files.archive());
    let mut appliance = Process::start(command);
    println!("{}", appliance.line("pinetboot.toml in flash, line 2: dhcp must be", SOON));
    appliance.line("serving on 10.55.0.1", SOON);
    // Longer than the search for another server, before which no board offers anything.
    assert!(!offers(&mut appliance, "8"));
    files.are_fetched(&network, &["--tftp-blksize", "1468"]);
}
