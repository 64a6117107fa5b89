//! Servers that a test starts for itself on loopback and that end with it.
//!
//! [`PostgresCluster`], [`Redis`] and [`Versitygw`] are real servers from installed programs; [`FaultProxy`], [`RoundRobinProxy`] and
//! [`TcpProxy`] stand between. Everything here is started and asked from plain or async code alike: proxies have a
//! runtime of their own, processes a supervisor that ends them when this process is gone, however it went.

mod fault_proxy;
mod forward;
mod operation;
mod postgres;
mod process;
mod programs;
mod redis;
mod restartable;
mod round_robin;
mod signing;
mod tcp_proxy;
mod versitygw;

pub use fault_proxy::{Call, Fault, FaultProxy, Rule, RuleId};
pub use operation::Operation;
pub use postgres::{PostgresCluster, PostgresOptions, Restart};
pub use programs::{Programs, free_port};
pub use redis::Redis;
pub use round_robin::RoundRobinProxy;
pub use signing::{BUNDLE, Rekor2, SigningKey, SigningLab};
pub use tcp_proxy::TcpProxy;
pub use versitygw::Versitygw;
