//! The way to the daemon: its Unix socket, or TCP with a token.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use hyper_util::rt::TokioIo;
use resembled::config::Dirs;
use tokio::net::UnixStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};

use crate::cli::Target;

/// A channel that carries the token, if one is needed.
pub(crate) type Connection = InterceptedService<Channel, Bearer>;

/// Adds the token to each call.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Connects to the daemon that the flags name.
pub(crate) async fn connect(target: &Target) -> anyhow::Result<Connection> {
    let dirs = || Dirs::find(&|name| std::env::var_os(name));
    if let Some(address) = target.connect {
        let path = match &target.token_file {
            Some(path) => path.clone(),
            None => dirs()?.data.join("token"),
        };
        let text = fs::read_to_string(&path).with_context(|| {
            format!("cannot read the token {}: copy it from the daemon's data directory, or name it with --token-file", path.display())
        })?;
        let token = format!("Bearer {}", text.trim()).parse().context("the token file holds no token")?;
        let channel =
            Endpoint::from_shared(format!("http://{address}"))?.connect().await.with_context(|| {
                format!("no daemon answers on {address}: was it started with --listen {address}?")
            })?;
        return Ok(InterceptedService::new(channel, Bearer(Some(token))));
    }
    let path = match &target.socket {
        Some(path) if path.as_os_str().is_empty() => bail!("--socket is empty"),
        Some(path) => path.clone(),
        None => dirs()?.runtime.join("resembled.sock"),
    };
    let channel = connect_socket(&path).await.with_context(|| {
        format!(
            "no daemon answers on {}: start one with `resembled DIR` or `systemctl --user start resembled`",
            path.display()
        )
    })?;
    Ok(InterceptedService::new(channel, Bearer(None)))
}

async fn connect_socket(path: &Path) -> Result<Channel, tonic::transport::Error> {
    let path = PathBuf::from(path);
    // The address is never looked at; the connector knows where to go.
    Endpoint::from_static("http://resembled.invalid")
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await
}

/// Says what the daemon refused, in its own words.
pub(crate) fn refused(status: Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}
