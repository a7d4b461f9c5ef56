//! `pares route`: the routed service address.

use std::net::{IpAddr, SocketAddr};
use std::process::{Command as Program, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Subcommand;
use pares::channel::{Receiver, never, select, tick};
use pares::masterless::Config;
use pares::route::{
    Event, EventKind, GiveBack, Route, RouteConfig, RoutePolicy, RouteTarget, TargetConfig,
};

use crate::events::Line;
use crate::failure::Failure;
use crate::group::Group;
use crate::output::{Form, line, note};
use crate::peer::{Network, of_token};
use crate::signals;
use crate::time::seconds;

/// Route addresses to many hosts, and have another host take over when this one fails
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(ServeArgs),
    Target(TargetArgs),
    Clean(CleanArgs),
}

/// Who takes part in a service.
#[derive(clap::Args)]
struct Part {
    /// Addresses and ports of the service: the same at all routers and targets
    #[arg(required = true, value_name = "ADDR:PORT")]
    services: Vec<SocketAddr>,

    #[command(flatten)]
    network: Network,

    /// Service type, the same at all routers and targets
    #[arg(long, value_name = "N", default_value = "0")]
    service: u16,

    /// Name of this process for people, cut to 32 bytes [default: the names of the machine and of
    /// the program]
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,

    /// TCP port at which routers let targets and other routers in [default: the port of the group]
    #[arg(long, value_name = "PORT")]
    report_port: Option<u16>,

    /// Print each event as a JSON object: {"event":E,"monotonic_ns":T,…}
    #[arg(long)]
    json: bool,
}

/// Be a router of a service until SIGINT or SIGTERM, and print one line per event
///
/// The router with the smallest rank has the addresses. When it fails, the next one asks the
/// targets for their connections, and takes the addresses over. No connection
/// of a living target ends. The kernel carries the packets: if this process is killed, connections
/// go on, and so do new ones until another router has the addresses.
///
/// Events: owner, former, settled, target-up, target-quiet, target-dead, refused, claimed,
/// too-many-targets.
///
/// At its end the router hands over, forwards for five seconds what still comes, and removes its
/// table and the addresses.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  pares -g web route serve 10.0.0.100:80 --device eth0 --multicast 239.1.2.3:4000
  pares -g web route serve 10.0.0.100:80 --device eth0 --multicast 239.1.2.3:4000 --rank 10 \\
      --target 10.0.0.11 --target 10.0.0.12=3 --give-back 60

Exit codes: as in `pares --help`, and 69 another router of this host lives, or the address is
configured, 77 CAP_NET_ADMIN or CAP_NET_RAW is missing.")]
struct ServeArgs {
    #[command(flatten)]
    part: Part,

    /// Network device at which the packets of clients come in, and go to the targets
    #[arg(long, value_name = "NAME")]
    device: String,

    /// Address of a target's host, with its weight; repeatable [default: all that come]
    #[arg(long, value_name = "IP[=WEIGHT]", value_parser = weighted)]
    target: Vec<(IpAddr, u16)>,

    /// Who gets a new connection: even, connections, load, client, standby
    ///
    /// even: all in turn, by weight. connections: a target with fewer gets more. load: a target
    /// with a smaller workload gets more. client: a client's connections go to one target.
    /// standby: the target of the largest weight.
    #[arg(long, value_name = "POLICY", default_value = "even", value_parser = policy)]
    policy: RoutePolicy,

    /// Rank: the smallest has the addresses; 0 to 254
    #[arg(long, value_name = "N", default_value = "128", value_parser = rank)]
    rank: u8,

    /// Number of processes of the group that this router must hear, itself included, to have the
    /// addresses: more than half of all routers and targets
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    quorum: usize,

    /// When to take the addresses back from a router of larger rank: never, now, when-idle, or
    /// after this time without a fault
    #[arg(long, value_name = "WHEN", default_value = "never", value_parser = give_back)]
    give_back: GiveBack,

    /// Be a target, too
    #[arg(long)]
    target_here: bool,
}

/// Be a target of a service until SIGINT or SIGTERM, and print one line per event
///
/// Gives this host the addresses on `lo`, and keeps it from answering for them; an application that
/// listens on them, or on all addresses, gets its share of the connections. Tells the routers which
/// connections this host has. If this process is killed, connections go on.
///
/// At its end it undoes its changes to this host, unless connections live.
///
/// Events: serves (the router with this token has the addresses).
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  pares -g web route target 10.0.0.100:80 --multicast 239.1.2.3:4000 --fit-if 'test -e /run/ready'

Exit codes: as in `pares --help`, and 69 another device has an address, 77 CAP_NET_ADMIN is
missing.")]
struct TargetArgs {
    #[command(flatten)]
    part: Part,

    /// Network device at which packets come in [default: the one towards the addresses]
    #[arg(long, value_name = "NAME")]
    device: Option<String>,

    /// Share of the new connections; 0 takes none
    #[arg(long, value_name = "N", default_value = "1")]
    weight: u16,

    /// Take new connections only while this shell command, run every second, exits with 0
    #[arg(long, value_name = "CMD")]
    fit_if: Option<String>,

    /// Change nothing on this host: its configuration does what a target takes
    #[arg(long)]
    prepared: bool,
}

/// Remove what a router has left that was killed, and print what that was
///
/// A router that is killed leaves its table in the kernel's packet filter. Its connections go on,
/// and it finds the table when it is started again. To take this host out of service instead,
/// remove the table and the addresses with this command. It prints one line for each: `table` and
/// its name, or `address`, the address and its device. It prints nothing if there is nothing.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  pares -g web route clean

Exit codes: as in `pares --help`, and 69 the router lives, 77 CAP_NET_ADMIN is missing.")]
struct CleanArgs {
    /// Service type of the router
    #[arg(long, value_name = "N", default_value = "0")]
    service: u16,
}

pub(crate) fn route(group: &Group, args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Serve(args) => serve(group, args),
        Command::Target(args) => target(group, args),
        Command::Clean(args) => clean(group, &args),
    }
}

impl Part {
    fn config(&self, group: &Group) -> Config {
        let config = self.network.config(group).service(self.service);
        self.label.iter().fold(config, |config, label| config.label(label))
    }

    fn target(&self, group: &Group) -> TargetConfig {
        let config = TargetConfig::new(self.config(group));
        let config = self.services.iter().fold(config, |config, one| config.service(*one));
        self.report_port.into_iter().fold(config, TargetConfig::report_port)
    }
}

fn serve(group: &Group, args: ServeArgs) -> Result<(), Failure> {
    let part = &args.part;
    let form = Form::new(part.json);
    let ends = signals::ends(false)?;
    let config =
        RouteConfig::new(part.config(group).rank(args.rank).quorum(args.quorum), &args.device)
            .policy(args.policy)
            .give_back(args.give_back);
    let config = part.services.iter().fold(config, |config, one| config.service(*one));
    let config =
        args.target.iter().fold(config, |config, (host, weight)| config.target(*host, *weight));
    let route = Route::serve(part.report_port.into_iter().fold(config, RouteConfig::report_port))?;
    let events = route.events();
    let here = args.target_here.then(|| RouteTarget::join(part.target(group).device(&args.device)));
    let here = here.transpose()?;
    print(form, &events, ends, never(), move || {
        // Its connections are passed on as long as the router forwards.
        let leaving = here.map(|here| thread::spawn(move || here.leave()));
        route.leave();
        leaving.map(thread::JoinHandle::join);
    })
}

fn target(group: &Group, args: TargetArgs) -> Result<(), Failure> {
    let form = Form::new(args.part.json);
    let ends = signals::ends(false)?;
    let config = args.part.target(group).weight(args.weight).prepared(args.prepared);
    let config = args.device.iter().fold(config, TargetConfig::device);
    let target = Arc::new(RouteTarget::join(config)?);
    let events = target.events();
    if let Some(command) = args.fit_if {
        let target = Arc::downgrade(&target);
        thread::Builder::new().name("fit".into()).spawn(move || {
            for _ in tick(Duration::from_secs(1)) {
                let fit = is_fit(&command);
                let Some(target) = target.upgrade() else { return };
                target.set_fit(fit);
            }
        })?;
    }
    print(form, &events, ends, never(), move || drop(target))
}

fn is_fit(command: &str) -> bool {
    let status = Program::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    match status {
        Ok(status) => status.success(),
        Err(error) => {
            note(&format!("cannot run the command of --fit-if: {error}"));
            false
        }
    }
}

/// Prints events until it is to end and has left.
fn print(
    form: Form,
    events: &pares::Events<Event>,
    mut ends: Receiver<i32>,
    never: Receiver<i32>,
    leave: impl FnOnce() + Send + 'static,
) -> Result<(), Failure> {
    let mut leave = Some(leave);
    let mut leaving = None;
    loop {
        select! {
            recv(events.as_ref()) -> event => match event {
                Ok(event) => line_of(&event).print(form)?,
                Err(_) => break,
            },
            recv(ends) -> _ => {
                ends = never.clone();
                if let Some(leave) = leave.take() {
                    leaving = Some(thread::Builder::new().name("leave".into()).spawn(leave)?);
                }
            },
        }
    }
    if let Some(leaving) = leaving {
        _ = leaving.join();
    }
    Ok(())
}

/// An event's line.
fn line_of(event: &Event) -> Line {
    let mut line = Line::new(event.monotonic_ns, &event.kind);
    match &event.kind {
        EventKind::Owner { token } | EventKind::Serves { token } => {
            line.fields.shift_remove("token");
            line.fields.extend(of_token(token));
        }
        EventKind::Missed { events } => {
            note(&format!("missed {events} events: the reader of standard output is too slow"));
        }
        _ => {}
    }
    line
}

fn clean(group: &Group, args: &CleanArgs) -> Result<(), Failure> {
    let cleaned = pares::route::clean(&group.name, args.service)?;
    for (address, device) in &cleaned.addresses {
        line(&format!("address\t{address}\t{device}"))?;
    }
    cleaned.table.iter().try_for_each(|table| line(&format!("table\t{table}")))
}

fn weighted(text: &str) -> Result<(IpAddr, u16), String> {
    let (host, weight) = text.split_once('=').unwrap_or((text, "1"));
    let host = host.parse().map_err(|_| format!("`{host}` is not an IP address"))?;
    let weight = weight.parse().map_err(|_| format!("`{weight}` is not a weight of 0 to 65535"))?;
    Ok((host, weight))
}

fn rank(text: &str) -> Result<u8, String> {
    text.parse().ok().filter(|rank| *rank < 255).ok_or_else(|| "not a number of 0 to 254".into())
}

fn policy(text: &str) -> Result<RoutePolicy, String> {
    Ok(match text {
        "even" => RoutePolicy::Even,
        "connections" => RoutePolicy::Connections,
        "load" => RoutePolicy::Load,
        "client" => RoutePolicy::Client,
        "standby" => RoutePolicy::Standby,
        _ => return Err("not one of even, connections, load, client, standby".into()),
    })
}

fn give_back(text: &str) -> Result<GiveBack, String> {
    Ok(match text {
        "never" => GiveBack::Never,
        "now" => GiveBack::Now,
        "when-idle" => GiveBack::WhenIdle,
        time => GiveBack::After(
            seconds(time)
                .map_err(|error| format!("not never, now, when-idle or a time: {error}"))?,
        ),
    })
}
