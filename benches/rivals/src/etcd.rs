//! etcd by its HTTP/JSON gateway: a lease, kept alive three times in its time, and its own blocking
//! lock.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::drive::{now, say, until_the_bench_ends};

/// The shortest lease, in seconds: etcd counts whole ones.
const TTL: u64 = 1;

/// "lock" in base64, as the gateway wants keys.
const NAME: &str = "bG9jaw==";

struct Gateway {
    stream: BufReader<TcpStream>,
    address: String,
}

impl Gateway {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("connect to etcd");
        stream.set_nodelay(true).expect("nodelay");
        Gateway { stream: BufReader::new(stream), address: address.to_owned() }
    }

    fn post(&mut self, path: &str, question: &Value) -> Value {
        let body = question.to_string();
        let (address, length) = (&self.address, body.len());
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: \
                               {length}\r\n\r\n{body}"
        );
        self.stream.get_mut().write_all(request.as_bytes()).expect("write to etcd");
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(':') else {
                match line.trim() {
                    "" => break,
                    status => assert!(status.contains(" 200 "), "{status} from etcd"),
                }
                continue;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().expect("a length");
            }
            chunked |= name.eq_ignore_ascii_case("transfer-encoding") && value.contains("chunked");
        }
        let mut body = Vec::new();
        if chunked {
            loop {
                let size = usize::from_str_radix(self.line().trim(), 16).expect(
                    "the size of a \
                    chunk",
                );
                self.take(size, &mut body);
                self.line();
                if size == 0 {
                    break;
                }
            }
        } else {
            self.take(length, &mut body);
        }
        serde_json::from_slice(&body).expect("JSON from etcd")
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.stream.read_line(&mut line).expect("read from etcd") > 0, "etcd has gone");
        line
    }

    fn take(&mut self, length: usize, body: &mut Vec<u8>) {
        let from = body.len();
        body.resize(from + length, 0);
        self.stream.read_exact(&mut body[from..]).expect("read from etcd");
    }
}

/// Waits for the lock, says when it has it, and keeps it.
pub(crate) fn lock(address: &str) -> ! {
    let mut gateway = Gateway::connect(address);
    let lease = gateway.post("/v3/lease/grant", &json!({ "TTL": TTL }))["ID"].clone();
    let (mut keeper, kept) = (Gateway::connect(address), json!({ "ID": lease }));
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_secs(TTL) / 3);
            keeper.post("/v3/lease/keepalive", &kept);
        }
    });
    thread::spawn(move || {
        say("present", now(), 0);
        let answer = gateway.post("/v3/lock/lock", &json!({ "name": NAME, "lease": lease }));
        let at = now();
        assert!(answer["key"].is_string(), "{answer}");
        say("leader", at, 0);
    });
    until_the_bench_ends()
}
