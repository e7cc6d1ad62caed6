//! A `PolicyService` that does as it is told, over a pipe: the test moves the clock.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastbreak_client::policy::{Identity, Policies};
use fastbreak_client::proto::policy_service_server::{PolicyService, PolicyServiceServer};
use fastbreak_client::proto::watch_request::Message as Said;
use fastbreak_client::proto::watch_response::Message as Say;
use fastbreak_client::proto::*;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

/// One connection, as the server sees it.
pub(crate) struct Link {
    pub(crate) hello: Hello,
    said: Streaming<WatchRequest>,
    say: mpsc::Sender<Result<WatchResponse, Status>>,
}

impl Link {
    pub(crate) async fn say(&self, nonce: &str, message: Say) {
        let response = WatchResponse { nonce: nonce.to_owned(), message: Some(message) };
        self.say.send(Ok(response)).await.unwrap();
    }

    /// What the SDK says next; pings are left out.
    pub(crate) async fn hear(&mut self) -> Said {
        loop {
            match self.hear_any().await {
                Said::Ping(_) => {}
                other => return other,
            }
        }
    }

    pub(crate) async fn hear_any(&mut self) -> Said {
        let said = timeout(Duration::from_secs(60), self.said.next()).await.expect("the SDK says something");
        said.expect("the stream goes on").unwrap().message.unwrap()
    }

    /// The number of the next ping.
    pub(crate) async fn ping(&mut self) -> u64 {
        loop {
            if let Said::Ping(ping) = self.hear_any().await {
                return ping.number;
            }
        }
    }

    pub(crate) async fn ack(&mut self) -> Ack {
        match self.hear().await {
            Said::Ack(ack) => ack,
            other => panic!("not an ack: {other:?}"),
        }
    }
}

/// Answers as the test says.
#[derive(Clone)]
pub(crate) struct Scripted {
    links: mpsc::Sender<Link>,
    away: Arc<AtomicBool>,
}

macro_rules! scripted {
    ($($name:ident($request:ty) -> $response:ty;)*) => {
        #[tonic::async_trait]
        impl PolicyService for Scripted {
            type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

            async fn watch(&self, request: Request<Streaming<WatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
                if self.away.load(Ordering::SeqCst) {
                    return Err(Status::unavailable("away"));
                }
                let mut said = request.into_inner();
                let (say, saying) = mpsc::channel(64);
                let links = self.links.clone();
                tokio::spawn(async move {
                    if let Some(Ok(WatchRequest { message: Some(Said::Hello(hello)) })) = said.next().await {
                        let _nobody_waits = links.send(Link { hello, said, say }).await;
                    }
                });
                Ok(Response::new(Box::pin(ReceiverStream::new(saying))))
            }

            $(async fn $name(&self, _: Request<$request>) -> Result<Response<$response>, Status> {
                Err(Status::unimplemented("not part of the script"))
            })*
        }
    };
}

scripted! {
    list_policies(ListPoliciesRequest) -> ListPoliciesResponse;
    get_policy(GetPolicyRequest) -> Policy;
    create_policy(CreatePolicyRequest) -> Policy;
    update_policy(UpdatePolicyRequest) -> Policy;
    delete_policy(DeletePolicyRequest) -> DeletePolicyResponse;
    list_policy_revisions(ListPolicyRevisionsRequest) -> ListPolicyRevisionsResponse;
    diff_policy(DiffPolicyRequest) -> DiffPolicyResponse;
    revert_policy(RevertPolicyRequest) -> Policy;
}

/// A server that can be taken away, and the way to it.
pub(crate) struct Mock {
    links: mpsc::Receiver<Link>,
    away: Arc<AtomicBool>,
    channel: Channel,
    scripted: Scripted,
}

impl Mock {
    pub(crate) fn start() -> Self {
        let (sender, links) = mpsc::channel(16);
        let away = Arc::new(AtomicBool::new(false));
        let scripted = Scripted { links: sender, away: Arc::clone(&away) };
        let kept = scripted.clone();
        let connect = tower::service_fn(move |_| {
            let scripted = scripted.clone();
            async move {
                let (ours, theirs) = tokio::io::duplex(1 << 16);
                let incoming = tokio_stream::once(Ok::<_, std::io::Error>(ours));
                tokio::spawn(
                    Server::builder().add_service(PolicyServiceServer::new(scripted)).serve_with_incoming(incoming),
                );
                Ok::<_, std::io::Error>(TokioIo::new(theirs))
            }
        });
        let channel = Endpoint::from_static("http://mock").connect_with_connector_lazy(connect);
        Self { links, away, channel, scripted: kept }
    }

    /// The same, for a socket.
    pub(crate) fn service(&self) -> PolicyServiceServer<Scripted> {
        PolicyServiceServer::new(self.scripted.clone())
    }

    pub(crate) fn is_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    pub(crate) fn watch(&self) -> Policies {
        self.watch_with(None)
    }

    pub(crate) fn watch_with(&self, file: Option<std::path::PathBuf>) -> Policies {
        let (service, instance) = ("checkout".to_owned(), "i-1".to_owned());
        Policies::start(Identity { service, instance, file, ..Identity::default() }, self.channel.clone())
    }

    pub(crate) async fn link(&mut self) -> Link {
        timeout(Duration::from_secs(120), self.links.recv()).await.expect("the SDK connects").unwrap()
    }
}
