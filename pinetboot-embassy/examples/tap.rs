//! The appliance on Linux: the same `run()` as on a board, behind a TAP device.
//!
//! ```sh
//! sudo ip tuntap add tap0 mode tap user $USER
//! sudo ip addr add 10.55.0.50/24 dev tap0 && sudo ip link set tap0 up
//! tar --format=ustar -C TREE -cf boot.tar .
//! cargo run --release --example tap -- tap0 boot.tar
//! curl tftp://10.55.0.1/config.txt
//! ```

use std::env;
use std::error::Error;
use std::fs;
use std::process::exit;

use embassy_executor::{Executor, Spawner};
use embassy_net::StackResources;
use embassy_net_tuntap::TunTapDevice;
use log::{LevelFilter, Log, Metadata, Record};
use pinetboot_embassy::archive::Archive;
use pinetboot_embassy::storage::Flash;
use pinetboot_embassy::{Board, Memory, SOCKETS, run};
use static_cell::{ConstStaticCell, StaticCell};

fn main() {
    log::set_max_level(if env::var_os("VERBOSE").is_some() { LevelFilter::Debug } else { LevelFilter::Info });
    let _first = log::set_logger(&Lines);
    if let Err(error) = start() {
        eprintln!("error: {error}");
        exit(1);
    }
}

fn start() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(interface), Some(archive), None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: tap INTERFACE ARCHIVE.tar".into());
    };
    let device = TunTapDevice::new(&interface).map_err(|error| format!("{interface}: {error}"))?;
    let bytes = fs::read(&archive).map_err(|error| format!("{archive}: {error}"))?;
    let archive = Archive::new(bytes.leak());

    static EXECUTOR: StaticCell<Executor> = StaticCell::new();
    EXECUTOR.init(Executor::new()).run(|spawner| {
        spawner.spawn(appliance(spawner, device, archive).expect("the first task"));
    })
}

#[embassy_executor::task]
async fn appliance(spawner: Spawner, device: TunTapDevice, archive: Archive<'static>) -> ! {
    static RESOURCES: ConstStaticCell<StackResources<SOCKETS>> = ConstStaticCell::new(StackResources::new());
    let seed = u64::from(std::process::id());
    let (stack, runner) = embassy_net::new(device, Default::default(), RESOURCES.take(), seed);
    spawner.spawn(net(runner).expect("the only one of its kind"));

    static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory::new());
    run(stack, Flash(archive), &mut Laptop, MEMORY.take()).await
}

#[embassy_executor::task]
async fn net(mut runner: embassy_net::Runner<'static, TunTapDevice>) -> ! {
    runner.run().await
}

/// Has neither LED nor watchdog.
struct Laptop;

impl Board for Laptop {
    fn led(&mut self, _: bool) {}

    fn feed(&mut self) {}
}

/// Logs to standard output.
struct Lines;

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("pinetboot")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            println!("{} {}", record.level(), record.args());
        }
    }

    fn flush(&self) {}
}
