//! The verifier against real signatures, mutations of them, and signatures of a laboratory that can sign whatever it likes.

mod attacks;
mod blobs;
mod chains;
mod der;
mod evidence;
mod forms;
mod keys;
mod lab;
mod mutations;
mod properties;
mod samples;
mod stamps;
mod tsa;
