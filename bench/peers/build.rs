//! Writes the service of tonic, whose messages are in `src/grpc.rs`.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let echo = Method::builder()
        .name("echo")
        .route_name("Echo")
        .input_type("crate::grpc::Body")
        .output_type("crate::grpc::Body")
        .codec_path("tonic_prost::ProstCodec")
        .build();
    let service = Service::builder().name("Echoes").package("bench").method(echo).build();
    Builder::new().compile(&[service]);
}
