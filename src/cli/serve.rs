//! `bonded serve`.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{DataArgs, Failure, load, print, runtime};
use crate::app::{AppBuilder, Ending};
use crate::config::{Config, LogFormat};
use crate::http::tls::TlsReloader;
use crate::telemetry::{self, LogStyle};

/// What to serve, and where.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Address and port to listen on [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    #[command(flatten)]
    data: DataArgs,
}

/// Serves until a signal comes.
pub(super) fn run(args: &ServeArgs) -> Result<ExitCode, Failure> {
    let flags = [("--listen", "listen", &args.listen), ("--data", "data", &args.data.data)];
    let flags = flags.into_iter().filter_map(|(flag, key, value)| Some((flag, key, value.clone()?))).collect();
    let config = load(&args.data.config, flags)?.config;
    let style = match config.log_format {
        LogFormat::Text => LogStyle::Text,
        LogFormat::Json => LogStyle::Json,
    };
    telemetry::init(style, &config.log_level, io::stderr().is_terminal()).map_err(Failure::usage)?;
    let runtime = runtime()?;
    let ended = runtime.block_on(serve(config));
    // After the orderly end nothing is left to wait for; after a second signal nobody wants to wait.
    runtime.shutdown_background();
    ended
}

async fn serve(config: Config) -> Result<ExitCode, Failure> {
    let mut signals = Signals::new().map_err(|error| Failure::usage(format!("signals cannot be received: {error}")))?;
    let everybody = config.insecure_anonymous;
    let app = AppBuilder::new(config).open().await.map_err(Failure::usage)?;
    let server = app.bind().await.map_err(Failure::usage)?;
    print(server.greeting());
    let from = if everybody { "from anywhere" } else { "from this machine" };
    if server.is_open() {
        tracing::warn!(listen = %server.listens(), "there are no accounts: everybody may push, pull and delete {from}");
    }

    let (stop, tls) = (CancellationToken::new(), server.tls());
    let running = server.run(stop.clone());
    let signalled = async {
        signals.end(tls.as_deref()).await;
        tracing::info!("stopping; transfers may finish, a second signal ends at once");
        stop.cancel();
        signals.end(tls.as_deref()).await;
    };
    tokio::select! {
        ending = running => ended(ending),
        () = signalled => Err(Failure::failed("ended at once by a second signal")),
    }
}

fn ended(ending: Ending) -> Result<ExitCode, Failure> {
    match ending {
        Ending::Finished => tracing::info!("stopped"),
        Ending::Cut => tracing::warn!("stopped; transfers were cut when the time of grace was over"),
        Ending::WriterDied => {
            return Err(Failure::failed("the database cannot be written to any more; see the log, then start again"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The signals that a server minds.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until somebody asks for the end; a hangup only reads the certificate again.
    async fn end(&mut self, tls: Option<&TlsReloader>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => reload(tls),
            }
        }
    }
}

/// Two small files are read in place; nobody sends this signal often.
fn reload(tls: Option<&TlsReloader>) {
    match tls.map(TlsReloader::reload_now) {
        None => tracing::info!("SIGHUP: without HTTPS there is nothing to read again"),
        Some(Ok(changed)) => tracing::info!(changed, "SIGHUP: certificate and key were read again"),
        Some(Err(error)) => {
            tracing::error!(error = telemetry::chain(&error), "SIGHUP: the old certificate stays in use");
        }
    }
}
