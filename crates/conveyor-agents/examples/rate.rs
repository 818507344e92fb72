#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::expect_used, missing_docs)]
use conveyor_agents::rollout::*;
use std::io::BufRead;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let p = std::path::Path::new(&a[2]);
    let size = std::fs::metadata(p).unwrap().len() as f64 / 1e6;
    let t = std::time::Instant::now();
    let mut n = 0usize;
    let mut sum = 0usize;
    match a[1].as_str() {
        "ours" => {
            let f = open(p).unwrap();
            let mut r = f.reader(0).unwrap();
            while let Some(l) = r.next_line().unwrap() {
                n += 1;
                if let Content::Event(e) = l.content {
                    sum += e.payload_json.len();
                    if a.len() > 3 {
                        let c1 = e.payload_json.to_owned();
                        let c2 = c1.clone();
                        sum += c1.len() + c2.len();
                    }
                }
            }
        }
        "value" => {
            let mut r = std::io::BufReader::with_capacity(1 << 18, std::fs::File::open(p).unwrap());
            let mut l = Vec::new();
            while {
                l.clear();
                r.read_until(b'\n', &mut l).unwrap() > 0
            } {
                let v: serde_json::Value = serde_json::from_slice(&l).unwrap();
                n += 1;
                sum += v.as_object().unwrap().len();
            }
        }
        _ => {
            let mut r = std::io::BufReader::with_capacity(1 << 18, std::fs::File::open(p).unwrap());
            let mut l = Vec::new();
            while {
                l.clear();
                r.read_until(b'\n', &mut l).unwrap() > 0
            } {
                let v: serde_json::Value = serde_json::from_slice(&l).unwrap();
                n += 1;
                sum += v["payload"].to_string().len();
            }
        }
    }
    let s = t.elapsed().as_secs_f64();
    let st = std::fs::read_to_string("/proc/self/status").unwrap();
    let h = st.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    println!("{} {n} {sum} {:.0} MB/s {h}", a[1], size / s);
}
