//! Compiles the .proto files without protoc.

const PARTS: [&str; 6] = ["node", "link", "route", "raft", "mesh", "stream"];

/// Whose bytes are shared with the frame they came in, instead of copied: all that may be long, and families with nothing short in what
/// they say often. An id of 16 bytes costs less to copy than to share.
const SHARED: [&str; 16] = [
    ".wattle.node",
    ".wattle.route",
    ".wattle.mesh",
    ".wattle.stream",
    ".wattle.link.Hello.endorsement",
    ".wattle.link.Hello.epoch_proofs",
    ".wattle.link.Raised.epoch_proofs",
    ".wattle.link.Fenced",
    ".wattle.link.Hello.identity",
    ".wattle.link.Rival.claim",
    ".wattle.link.Claimed",
    ".wattle.link.Barred",
    ".wattle.link.KeyRetired",
    ".wattle.raft.Entry.data",
    ".wattle.raft.Change.data",
    ".wattle.raft.Snapshot.data",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files: Vec<String> = PARTS.iter().map(|part| format!("wattle/{part}.proto")).collect();
    let parts = protox::compile(files, ["proto"])?;
    prost_build::Config::new().bytes(SHARED).btree_map(["."]).compile_fds(parts)?;
    #[cfg(feature = "grpc")]
    {
        let api = protox::compile(["wattle/api.proto"], ["proto"])?;
        let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
        std::fs::write(out.join("api_descriptors.bin"), prost::Message::encode_to_vec(&api))?;
        tonic_prost_build::configure().bytes(".").btree_map(".").compile_fds(api)?;
    }
    Ok(())
}
