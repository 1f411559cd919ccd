//! Writes the corpus of every target to the folder given, `corpus` unless another one is, one file per input.

use std::{env, fs, io};

use wattle_sim::fuzz::Target;

fn main() -> io::Result<()> {
    let folder = env::args().nth(1).unwrap_or_else(|| "corpus".to_owned());
    for target in Target::ALL {
        let folder = format!("{folder}/{}", target.name());
        fs::create_dir_all(&folder)?;
        let inputs = target.corpus();
        for (number, input) in inputs.iter().enumerate() {
            fs::write(format!("{folder}/{number:05}"), input)?;
        }
        println!("{folder}: {} inputs", inputs.len());
    }
    Ok(())
}
