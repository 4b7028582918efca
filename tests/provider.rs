//! A real OpenID provider (oidc-provider, on loopback): its tokens identify, and contrib/refresh-jwks.sh carries its
//! keys into the database, through a rotation and past everything that can go wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::command::{Finished, plain};
use harness::shop::{self, Shop, identify};
use harness::token::{self, Algorithm, Signer, claims_but, random_text};
use harness::{assert_refused, free_port, refusal, text, wait_for};
use postgres::error::SqlState;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;

const NO_PERSON: SqlState = SqlState::INVALID_AUTHORIZATION_SPECIFICATION;
const IBAN: &str = "select iban from masked.customers where id = 1";
const PLAIN: &str = "DE89370400440532013000";
const MASKED: &str = "DE89**************3000";

#[test]
fn tokens_of_a_real_provider_identify_through_a_rotation_of_its_keys() {
    let shop = shop::open("identify");
    let provider = Provider::new();
    let keeper = Keeper::new(&shop);

    let running = provider.run(&["old:RS256"]);
    trust(&shop, &provider.issuer(), &provider.published());
    let old = provider.token("alice");
    let mut since_before = shop.readonly();
    identify(&mut since_before, &old).unwrap();
    assert_eq!(text(&mut since_before, "select custodian.user_id()").as_deref(), Some("alice"));
    assert_eq!(text(&mut since_before, IBAN).as_deref(), Some(PLAIN));
    assert_eq!(who_sees(&shop, &provider.token("bob")), ("bob".to_string(), MASKED.to_string()));

    let before = key_events(&shop);
    keeper.run(&[&provider.issuer()]).is_silent();
    assert_eq!(key_events(&shop), before, "the keys have not changed");

    // The new key is published before anything is signed with it ...
    drop(running);
    let running = provider.run(&["old:RS256", "new:ES256"]);
    keeper.run(&[&provider.issuer()]).tells(&provider.issuer());
    assert_eq!(key_events(&shop), before + 1);
    identifies(&shop, &old);
    identifies(&shop, &provider.token("alice"));

    // ... then signs, while tokens of the old one are about. Nothing needs to be fetched in between.
    drop(running);
    let running = provider.run(&["new:ES256", "old:RS256"]);
    let new = provider.token("alice");
    assert_eq!((algorithm(&old), algorithm(&new)), ("RS256".to_string(), "ES256".to_string()));
    identifies(&shop, &old);
    identifies(&shop, &new);
    keeper.run(&[&provider.issuer()]).succeeded();
    identifies(&shop, &old);
    identifies(&shop, &new);

    // The old key is withdrawn: its tokens are good for nobody any more.
    drop(running);
    let running = provider.run(&["new:ES256"]);
    identifies(&shop, &old);
    keeper.run(&[&provider.issuer()]).tells(&provider.issuer());
    assert_refused(identify(&mut shop.readonly(), &old), &NO_PERSON);
    identifies(&shop, &new);
    identifies(&shop, &provider.token("alice"));
    // Who came with it before stays until his token expires.
    assert_eq!(text(&mut since_before, IBAN).as_deref(), Some(PLAIN));
    keeper.run(&[&provider.issuer()]).is_silent();

    // Down, the provider takes nothing away.
    drop(running);
    keeper.run(&[&provider.issuer()]).fails("cannot fetch");
    identifies(&shop, &new);
}

#[test]
fn keys_are_not_replaced_by_anything_but_keys() {
    let shop = shop::open("identify");
    let keeper = Keeper::new(&shop);
    let (signer, other) = (Signer::new(Algorithm::RS256), Signer::new(Algorithm::ES256));
    let many: Vec<Value> = (0..20_000).map(|_| other.jwk()).collect();
    let good = other.jwks().to_string();
    let server = Server::new(vec![
        ("/missing", "404 Not Found", good.clone()),
        ("/broken", "500 Internal Server Error", good.clone()),
        ("/html", "200 OK", "<!doctype html><title>Sign in</title>".to_string()),
        ("/nothing", "200 OK", String::new()),
        ("/empty", "200 OK", json!({"keys": []}).to_string()),
        ("/null", "200 OK", json!({"keys": null}).to_string()),
        ("/text", "200 OK", json!({"keys": "none"}).to_string()),
        ("/list", "200 OK", json!([other.jwk()]).to_string()),
        ("/unknown", "200 OK", json!({"keys": [{"kty": "lattice", "kid": "future"}]}).to_string()),
        ("/secret", "200 OK", json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}).to_string()),
        ("/cut", "200 OK", good[..good.len() / 2].to_string()),
        ("/long", "200 OK", json!({"keys": many}).to_string()),
        ("/elsewhere", "302 Found\r\nLocation: /good", good.clone()),
        ("/quote", "200 OK", "'; select custodian.distrust_issuer(:'issuer'); --".to_string()),
        ("/good", "200 OK", good),
    ]);
    let issuer = server.at("");
    trust(&shop, &issuer, &signer.jwks());
    let before = key_events(&shop);

    for (path, why) in [
        ("/missing", "status 404"),
        ("/broken", "status 500"),
        ("/html", "cannot compare"),
        ("/nothing", "answers with nothing"),
        ("/empty", "holds no keys"),
        ("/null", "holds no keys"),
        ("/text", "holds no keys"),
        ("/list", "holds no keys"),
        ("/unknown", "refuses the keys"),
        ("/secret", "refuses the keys"),
        ("/cut", "cannot compare"),
        ("/long", "cannot fetch"),
        ("/elsewhere", "status 302"),
        ("/quote", "cannot compare"),
    ] {
        keeper.run(&[&issuer, &server.at(path)]).fails(why);
    }
    // Other ways to other places.
    let good = server.at("/good");
    let with_tls = good.replace("http:", "https:");
    for (arguments, why) in [
        (vec!["--loopback-http", &issuer, &with_tls], "cannot fetch"),
        (vec![&issuer, &good], "is not https"),
        (vec!["--loopback-http", &issuer, "http://id.shop.example/keys"], "is not https"),
        (vec!["--loopback-http", &issuer, "http://127.0.0.1.shop.example/keys"], "is not https"),
        (vec!["--loopback-http", &issuer, "http://127.0.0.1:80@shop.example/keys"], "user name"),
        (vec!["--loopback-http", &issuer, "file:///etc/passwd"], "is not https"),
        (vec!["--loopback-http", &issuer, "-o/dev/null"], "is not https"),
        (vec!["--loopback-http", "https://nobody.shop.example", &good], "does not trust"),
        (vec![], "usage"),
    ] {
        keeper.run_as_it_is(&arguments).fails(why);
    }
    let (shared, secret) = ("https://shared.shop.example", token::encode(random_text(32).as_bytes()));
    shop.admin()
        .execute(
            "select custodian.trust_issuer($1, $2, array['pg_custodian'], algorithms => array['HS256'])",
            &[&shared, &json!({"keys": [{"kty": "oct", "k": secret}]})],
        )
        .unwrap();
    keeper.run(&[shared, &good]).fails("shared secret");
    let mut astray = Keeper::new(&shop);
    astray.user = "readonly".to_string();
    astray.run(&[&issuer, &good]).fails("cannot compare");

    assert_eq!(key_events(&shop), before, "nothing has changed");
    let token = |signer: &Signer| signer.sign(&claims_but("alice", &["support"], json!({"iss": issuer})));
    identifies(&shop, &token(&signer));
    assert_refused(identify(&mut shop.readonly(), &token(&other)), &NO_PERSON);

    // With the same settings, the good ones get in.
    keeper.run(&[&issuer, &good]).tells(&issuer);
    identifies(&shop, &token(&other));
    assert_refused(identify(&mut shop.readonly(), &token(&signer)), &NO_PERSON);
}

#[test]
fn the_configuration_of_another_issuer_is_not_followed() {
    let shop = shop::open("identify");
    let keeper = Keeper::new(&shop);
    let other = Signer::new(Algorithm::ES256);
    let server = Server::new(vec![
        (
            "/a/.well-known/openid-configuration",
            "200 OK",
            "{\"issuer\": \"ISSUER/b\", \"jwks_uri\": \"ISSUER/keys\"}".into(),
        ),
        ("/c/.well-known/openid-configuration", "200 OK", "{\"issuer\": \"ISSUER/c\"}".into()),
        (
            "/d/.well-known/openid-configuration",
            "200 OK",
            "{\"issuer\": \"ISSUER/d\", \"jwks_uri\": \"ftp://127.0.0.1/keys\"}".into(),
        ),
        (
            "/e/.well-known/openid-configuration",
            "200 OK",
            "{\"issuer\": \"ISSUER/e\", \"jwks_uri\": \"ISSUER/keys\"}".into(),
        ),
        ("/keys", "200 OK", other.jwks().to_string()),
    ]);
    for path in ["/a", "/c", "/d", "/e"] {
        trust(&shop, &server.at(path), &Signer::new(Algorithm::RS256).jwks());
    }
    keeper.run(&[&server.at("/a")]).fails("is not the configuration of");
    keeper.run(&[&server.at("/c")]).fails("names no jwks_uri");
    keeper.run(&[&server.at("/d")]).fails("is not https");
    keeper.run(&[&server.at("/e")]).tells(&server.at("/e"));
}

#[test]
fn keys_come_by_https_from_a_server_with_a_good_certificate() {
    let shop = shop::open("identify");
    let keeper = Keeper::new(&shop);
    let (signer, new) = (Signer::new(Algorithm::RS256), Signer::new(Algorithm::ES256));
    let directory = own_directory();
    let file = |name: &str| directory.join(name).display().to_string();
    std::fs::write(file("jwks"), new.jwks().to_string()).unwrap();
    let mut made = plain(Path::new("openssl"));
    made.args([
        "req",
        "-x509",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=id",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]);
    made.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    made.args(["-keyout", &file("key"), "-out", &file("certificate")]).succeed();
    let port = free_port();
    let mut server = plain(Path::new("openssl"));
    // Serves files, by their path below the working directory, which is the root.
    server.args(["s_server", "-WWW", "-accept", &format!("127.0.0.1:{port}")]);
    server.args(["-key", &file("key"), "-cert", &file("certificate")]);
    let _running = Running(server.start(&directory.join("log")));
    wait_for("openssl", || TcpStream::connect(("127.0.0.1", port)).is_ok());

    let issuer = "https://id.shop.example/tls";
    trust(&shop, issuer, &signer.jwks());
    let url = format!("https://127.0.0.1:{port}{}", file("jwks"));
    keeper.run_as_it_is(&[issuer, &url]).fails("cannot fetch");
    let outcome = keeper.run_with(&[issuer, &url], &[("CURL_CA_BUNDLE", &file("certificate"))]);
    std::fs::remove_dir_all(&directory).unwrap();
    outcome.tells(issuer);
}

#[test]
fn who_keeps_the_keys_current_can_do_nothing_else() {
    let shop = shop::open("identify");
    let keeper = Keeper::new(&shop);
    let mut client = shop.cluster.login(&keeper.user, &keeper.password, "shop");
    for statement in [
        "select custodian.trust_issuer('https://a.example', '{\"keys\": []}', array['x'])",
        "select custodian.distrust_issuer('https://id.shop.example')",
        "select custodian.unenroll('readonly')",
        "select access.grant_access('alice', array['select'], 'DATABASE', '1 hour', 'test')",
        "select * from custodian.issuer",
        "select * from audit.ledger",
        "select * from masked.customers",
    ] {
        assert_eq!(
            refusal(client.simple_query(statement)).code(),
            &SqlState::INSUFFICIENT_PRIVILEGE,
            "{statement}"
        );
    }
}

fn trust(shop: &Shop, issuer: &str, jwks: &Value) {
    let query = "select custodian.trust_issuer($1, $2, array['pg_custodian'])";
    shop.admin().execute(query, &[&issuer, jwks]).unwrap();
}

#[track_caller]
fn identifies(shop: &Shop, token: &str) {
    assert_eq!(who_sees(shop, token), ("alice".to_string(), PLAIN.to_string()));
}

/// Whom a token identifies on a new connection, and how that person sees an IBAN.
#[track_caller]
fn who_sees(shop: &Shop, token: &str) -> (String, String) {
    let mut client = shop.readonly();
    identify(&mut client, token).unwrap();
    (text(&mut client, "select custodian.user_id()").unwrap(), text(&mut client, IBAN).unwrap())
}

fn algorithm(token: &str) -> String {
    use base64::Engine;
    let header =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["alg"].as_str().unwrap().to_string()
}

/// How often the ledger says that somebody replaced keys.
fn key_events(shop: &Shop) -> i64 {
    let mut admin = shop.admin();
    shop::sync(&mut admin);
    let query = "select count(*) from audit.events where event = 'issuer' and detail ->> 'action' = 'rotate'";
    admin.query_one(query, &[]).unwrap().get(0)
}

/// Whoever runs contrib/refresh-jwks.sh, with the rights that docs/jwks.md gives him.
struct Keeper<'a> {
    shop: &'a Shop,
    user: String,
    password: String,
}

impl<'a> Keeper<'a> {
    fn new(shop: &'a Shop) -> Keeper<'a> {
        let (user, password) = (format!("keeper_{}", random_text(3)), random_text(16));
        let docs = std::fs::read_to_string(root().join("docs/jwks.md")).unwrap();
        let rights = docs.split("```sql\n").nth(1).unwrap().split("```").next().unwrap();
        let rights = rights.replace("jwks_keeper", &user);
        shop.admin().batch_execute(&rights).unwrap();
        shop.admin().batch_execute(&format!("alter role {user} password '{password}'")).unwrap();
        Keeper { shop, user, password }
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_as_it_is(&[&["--loopback-http"], arguments].concat())
    }

    fn run_as_it_is(&self, arguments: &[&str]) -> Outcome {
        self.run_with(arguments, &[])
    }

    fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Outcome {
        let mut program = plain(&root().join("contrib/refresh-jwks.sh"));
        let psql = self.shop.cluster.path_of("psql");
        let path = format!("{}:{}", psql.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let program = self.shop.introduce(&mut program).env("PATH", path);
        // The shared login keeps its own password.
        if self.user != "readonly" {
            program.env("PGUSER", &self.user).env("PGPASSWORD", &self.password);
        }
        for (name, value) in environment {
            program.env(name, value);
        }
        Outcome(program.args(arguments).run())
    }
}

struct Outcome(Finished);

impl Outcome {
    #[track_caller]
    fn succeeded(&self) {
        assert!(self.0.success, "{}{}", self.0.stdout, self.0.stderr);
    }

    #[track_caller]
    fn is_silent(&self) {
        self.succeeded();
        assert_eq!((self.0.stdout.as_str(), self.0.stderr.as_str()), ("", ""));
    }

    #[track_caller]
    fn tells(&self, issuer: &str) {
        self.succeeded();
        assert_eq!(self.0.stdout, format!("refresh-jwks: new keys of {issuer}\n"));
    }

    #[track_caller]
    fn fails(&self, why: &str) {
        assert!(!self.0.success, "this should have failed: {}", self.0.stdout);
        assert!(self.0.stderr.contains(why), "not because of {why:?} but: {}", self.0.stderr);
        assert_eq!(self.0.stdout, "");
    }
}

/// oidc-provider with its keys, which outlive its restarts.
struct Provider {
    port: u16,
    directory: PathBuf,
    secret: String,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Provider {
    fn new() -> Provider {
        Provider { port: free_port(), directory: own_directory(), secret: random_text(24) }
    }

    fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts it with these keys, of which the first signs.
    fn run(&self, keys: &[&str]) -> Running {
        let mut node = plain(Path::new("node"));
        node.arg(root().join("tests/clients/provider.mjs")).arg(self.port.to_string()).args(keys);
        node.env("PGC_STATE", std::env::var("PGC_STATE").unwrap()).env("PGC_KEYS", &self.directory);
        node.env("PGC_ALICE", &self.secret).env("PGC_BOB", &self.secret);
        let mut running = Running(node.start(&self.directory.join("log")));
        wait_for("the provider", || {
            let ended = running.0.try_wait().unwrap();
            let log = || std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            assert!(ended.is_none(), "the provider ended: {}", log());
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
        running
    }

    fn published(&self) -> Value {
        let found = fetch(&["--url", &format!("{}/.well-known/openid-configuration", self.issuer())]);
        assert_eq!(found["issuer"].as_str(), Some(self.issuer().as_str()));
        fetch(&["--url", found["jwks_uri"].as_str().unwrap()])
    }

    /// An access token, by the client credentials grant.
    fn token(&self, person: &str) -> String {
        let (url, user) = (format!("{}/token", self.issuer()), format!("{person}:{}", self.secret));
        let answer = fetch(&["--url", &url, "--user", &user, "--data", "grant_type=client_credentials"]);
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token in {answer}")).to_string()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn fetch(arguments: &[&str]) -> Value {
    let said = plain(Path::new("curl")).args(["-q", "-sS", "--noproxy", "*"]).args(arguments).succeed();
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {}", said.stdout))
}

/// An HTTP server with canned answers, for as long as the test process lives. ISSUER in an answer is its own address.
struct Server(u16);

impl Server {
    fn new(answers: Vec<(&'static str, &'static str, String)>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = answer(stream.unwrap(), &answers, port);
            }
        });
        Server(port)
    }

    fn at(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.0)
    }
}

/// Clients that hang up in the middle are none of its business.
fn answer(mut stream: TcpStream, answers: &[(&str, &str, String)], port: u16) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (_, status, body) = answers.iter().find(|(at, ..)| *at == path).unwrap_or(&answers[0]);
    let body = body.replace("ISSUER", &format!("http://127.0.0.1:{port}"));
    // Without a length, as servers that make their answers on the fly.
    write!(stream, "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{body}")
}

/// Where only whoever runs the tests can look: private keys are kept there.
fn own_directory() -> PathBuf {
    let made = plain(Path::new("mktemp")).args(["-d", "-t", "pg_custodian-provider.XXXXXX"]).succeed();
    PathBuf::from(made.stdout.trim())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}
