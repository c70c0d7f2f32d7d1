use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::*;

/// Settings of a file, variables and flags, or the message.
fn settings(file: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Settings, String> {
    let file = File::new("bambisleep.toml".to_owned(), file.to_owned());
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    Settings::from_sources(Some(&file), variables, &given_flags(flags)).map_err(|error| error.to_string())
}

fn given_flags(flags: &[(&str, &str)]) -> Flags {
    let mut given = Flags::default();
    for (name, text) in flags {
        let setting = SETTINGS.iter().find(|setting| setting.name == *name).unwrap();
        given.set(setting, (*text).to_owned());
    }
    given
}

fn in_file(text: &str) -> String {
    settings(text, &[], &[]).unwrap_err()
}

/// The message for one bad variable.
fn in_variable(name: &str, value: &str) -> String {
    settings("", &[(name, value)], &[]).unwrap_err()
}

#[test]
fn the_defaults_are_those_of_the_protocol() {
    let settings = Settings::default();
    assert_eq!(settings.bind.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.data_dir, Path::new("./data"));
    assert_eq!(settings.database.url(), "sqlite:./data/bambisleep.sqlite?mode=rwc");
    assert!(settings.redis_url.is_none());
    assert_eq!(settings.redis_prefix, "bambisleep:");
    assert_eq!(settings.public_url, None);
    assert_eq!(settings.allowed_origins, []);
    assert_eq!(settings.trusted_proxies, []);
    assert_eq!(settings.rate_limit_authenticated, 60);
    assert_eq!(settings.rate_limit_anonymous, 10);
    assert!(settings.secret_key.is_none());
    assert!(!settings.webhooks_allow_insecure);
    assert_eq!(settings.metrics_bind, None);
    assert!(settings.words.is_empty());
    assert_eq!(settings.ai.models.len(), 1);
    assert_eq!(settings.ai.models[0].name, "MODEL_1");
    assert!(matches!(settings.ai.models[0].provider, Provider::Scripted));
    assert!(settings.ai.speech.is_none());
    assert_eq!(settings.warnings, [""; 0]);
}

#[test]
fn flags_win_over_the_environment_which_wins_over_the_file() {
    let file = "bind = '127.0.0.1:1'";
    let variable = ("BAMBISLEEP_BIND", "127.0.0.1:2");
    let flag = ("bind", "127.0.0.1:3");
    let port = |variables: &[_], flags: &[_]| settings(file, variables, flags).unwrap().bind.port();
    assert_eq!(port(&[], &[]), 1);
    assert_eq!(port(&[variable], &[]), 2);
    assert_eq!(port(&[variable], &[flag]), 3);
    assert_eq!(port(&[], &[flag]), 3);
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let variables = [("BAMBISLEEP_BIND", ""), ("REDIS_URL", "")];
    let settings = settings("bind = '127.0.0.1:1'", &variables, &[]).unwrap();
    assert_eq!(settings.bind.port(), 1);
    assert!(settings.redis_url.is_none());
}

#[test]
fn every_setting_can_come_from_every_source() {
    let words = std::env::temp_dir().join(format!("words_{}.txt", std::process::id()));
    std::fs::write(&words, "# what nobody wants\nspam\n").unwrap();
    let path = words.to_str().unwrap();
    let values = [
        ("bind", "0.0.0.0:9"),
        ("data_dir", "/srv/chat"),
        ("files_url", "s3://bucket/a/b"),
        ("database_url", "postgres://u:p@db/chat"),
        ("redis_url", "redis://cache/1"),
        ("redis_prefix", "a:"),
        ("public_url", "https://chat.example"),
        ("allowed_origins", "https://a.example, capacitor://localhost"),
        ("trusted_proxies", "10.0.0.0/8,::1"),
        ("rate_limit_authenticated", "0"),
        ("rate_limit_anonymous", "7"),
        ("secret_key", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
        ("webhooks_allow_insecure", "true"),
        ("log_days", "30"),
        ("metrics_bind", "[::1]:9000"),
        ("word_filter", path),
    ];
    assert_eq!(
        values.map(|(name, _)| name).as_slice(),
        SETTINGS.iter().map(|s| s.name).collect::<Vec<_>>()
    );
    let file: String = values
        .iter()
        .map(|(name, value)| format!("{name} = '{value}'\n"))
        .collect();
    let variables: Vec<_> = values
        .iter()
        .zip(SETTINGS)
        .map(|((_, value), setting)| (setting.env, *value))
        .collect();
    let typed = format!(
        "
        bind = '0.0.0.0:9'
        data_dir = '/srv/chat'
        database_url = 'postgres://u:p@db/chat'
        redis_url = 'redis://cache/1'
        redis_prefix = 'a:'
        public_url = 'https://chat.example'
        allowed_origins = ['https://a.example', 'capacitor://localhost']
        trusted_proxies = ['10.0.0.0/8', '::1']
        rate_limit_authenticated = 0
        rate_limit_anonymous = 0x7
        secret_key = 'MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE='
        webhooks_allow_insecure = true
        log_days = 30
        metrics_bind = '[::1]:9000'
        word_filter = '{path}'
    "
    );
    let sources = [
        settings(&file, &[], &[]),
        settings("", &variables, &[]),
        settings("", &[], &values),
        settings(&typed, &[], &[]),
    ];
    for settings in sources {
        let settings = settings.unwrap();
        assert_eq!(settings.bind.to_string(), "0.0.0.0:9");
        assert_eq!(settings.data_dir, Path::new("/srv/chat"));
        assert_eq!(settings.database.url(), "postgres://u:p@db/chat");
        assert_eq!(settings.redis_url.as_ref().unwrap().expose_secret(), "redis://cache/1");
        assert_eq!(settings.redis_prefix, "a:");
        assert_eq!(settings.public_url.as_ref().unwrap().as_str(), "https://chat.example");
        let origins: Vec<_> = settings.allowed_origins.iter().map(WebOrigin::as_str).collect();
        assert_eq!(origins, ["https://a.example", "capacitor://localhost"]);
        let proxies: Vec<_> = settings.trusted_proxies.iter().map(ToString::to_string).collect();
        assert_eq!(proxies, ["10.0.0.0/8", "::1/128"]);
        assert_eq!(settings.rate_limit_authenticated, 0);
        assert_eq!(settings.rate_limit_anonymous, 7);
        assert_eq!(
            settings.secret_key.as_ref().unwrap().expose(),
            b"01234567890123456789012345678901"
        );
        assert!(settings.webhooks_allow_insecure);
        assert_eq!(settings.log_kept, Some(Duration::from_secs(30 * 24 * 60 * 60)));
        assert_eq!(settings.metrics_bind.unwrap().port(), 9000);
        assert!(settings.words.are_in("no spam"));
        assert_eq!(settings.warnings, [""; 0]);
    }
    std::fs::remove_file(&words).unwrap();
}

#[test]
fn a_list_of_words_that_cannot_be_used_is_told() {
    let file = std::env::temp_dir().join(format!("bad_words_{}.txt", std::process::id()));
    let path = file.to_str().unwrap();
    let told = || {
        let message = in_variable("BAMBISLEEP_WORD_FILTER", path);
        let start = "word_filter (environment variable BAMBISLEEP_WORD_FILTER): ";
        message
            .strip_prefix(start)
            .unwrap_or_else(|| panic!("{message}"))
            .to_owned()
    };
    assert_eq!(told(), format!("cannot read {path}: no such file"));
    for (list, why) in [
        (b"# nothing\n".as_slice(), format!("{path} has no words")),
        (b"spam\n--\n", format!("{path} has neither letter nor digit in line 2")),
        (b"\xff\xfe", format!("cannot read {path}: not UTF-8")),
    ] {
        std::fs::write(&file, list).unwrap();
        assert_eq!(told(), why);
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(
        in_file("word_filter = ''"),
        "word_filter (bambisleep.toml line 1): must not be empty"
    );
}

#[test]
fn a_bad_value_names_its_key_its_source_and_why() {
    let why = "must be an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080";
    assert_eq!(
        in_file("\n# listen\nbind = 'localhost'"),
        format!("bind (bambisleep.toml line 3): {why}")
    );
    assert_eq!(in_file("bind = 8080"), format!("bind (bambisleep.toml line 1): {why}"));
    assert_eq!(
        in_variable("BAMBISLEEP_BIND", "8080"),
        format!("bind (environment variable BAMBISLEEP_BIND): {why}")
    );
    assert_eq!(
        settings("", &[], &[("bind", "8080")]).unwrap_err(),
        format!("bind (flag --bind): {why}")
    );
}

#[test]
fn every_kind_of_bad_value_is_refused() {
    let origin = "must be scheme://host or scheme://host:port, such as https://chat.example.org";
    let shape = "must end after the host and port: no path, query or fragment";
    let number = "must be a whole number from 0 to 4294967295";
    for (name, value, why) in [
        ("data_dir", " ", "must not be empty"),
        (
            "database_url",
            "mysql://db/x",
            "must start with postgres://, postgresql:// or sqlite:",
        ),
        (
            "database_url",
            "postgres://db:port/x",
            "is not a valid URL: invalid port number",
        ),
        (
            "database_url",
            "sqlite:",
            "must name a file, such as sqlite:data/chat.sqlite",
        ),
        (
            "database_url",
            "sqlite://?mode=rwc",
            "must name a file, such as sqlite:data/chat.sqlite",
        ),
        (
            "database_url",
            "sqlite::memory:",
            "must name a file: a database in memory is lost with the process",
        ),
        (
            "database_url",
            "sqlite:x?mode=memory",
            "must name a file: a database in memory is lost with the process",
        ),
        ("database_url", "sqlite:x?mode=ro", "has a mode other than rw and rwc"),
        (
            "files_url",
            "/srv/files",
            "must be s3://BUCKET, s3://BUCKET/PREFIX or file:///FOLDER",
        ),
        (
            "files_url",
            "gs://bucket",
            "must be s3://BUCKET, s3://BUCKET/PREFIX or file:///FOLDER",
        ),
        (
            "files_url",
            "s3:///prefix",
            "must be s3://BUCKET, s3://BUCKET/PREFIX or file:///FOLDER",
        ),
        (
            "files_url",
            "file://host/files",
            "must be s3://BUCKET, s3://BUCKET/PREFIX or file:///FOLDER",
        ),
        (
            "files_url",
            "s3://key:hunter2@bucket",
            "must not hold credentials: they come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        (
            "files_url",
            "s3://bucket?region=x",
            "must not hold a query or a fragment",
        ),
        ("redis_url", "http://cache", "must start with redis:// or rediss://"),
        ("redis_url", "redis://", "names no host"),
        (
            "redis_url",
            "redis://cache/chat",
            "has a path that is not the number of a database, such as /0",
        ),
        (
            "redis_url",
            "redis://cache:x",
            "is not a valid URL: invalid port number",
        ),
        ("redis_prefix", "a b", "must be 1 to 64 ASCII characters without spaces"),
        ("public_url", "chat.example", origin),
        ("public_url", "https:chat.example", origin),
        (
            "public_url",
            "ftp://chat.example",
            "must start with http:// or https://",
        ),
        ("public_url", "https://chat.example/app", shape),
        ("public_url", "https://chat.example/?a=b", shape),
        ("public_url", "https://chat.example#a", shape),
        (
            "public_url",
            "https://u:p@chat.example",
            "must not hold a user name or a password",
        ),
        ("rate_limit_anonymous", "-1", number),
        ("rate_limit_authenticated", "many", number),
        ("rate_limit_authenticated", "1.5", number),
        ("secret_key", "aHVudGVyMg==", "must be 32 bytes in base64"),
        ("secret_key", "hunter2", "must be 32 bytes in base64"),
        ("webhooks_allow_insecure", "yes", "must be true or false"),
        (
            "metrics_bind",
            "9000",
            "must be an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080",
        ),
    ] {
        let message = settings("", &[], &[(name, value)]).unwrap_err();
        let flag = name.replace('_', "-");
        assert_eq!(message, format!("{name} (flag --{flag}): {why}"), "{value}");
    }
}

#[test]
fn a_bad_item_of_a_list_is_named() {
    assert_eq!(
        in_variable("BAMBISLEEP_TRUSTED_PROXIES", "10.0.0.0/8,10.0.0.0/99"),
        "trusted_proxies (environment variable BAMBISLEEP_TRUSTED_PROXIES): \
         item \"10.0.0.0/99\": must be an IP address or a CIDR, such as 10.0.0.0/8"
    );
    assert_eq!(
        in_file("allowed_origins = ['https://a.example', '*']"),
        "allowed_origins (bambisleep.toml line 1): \
         item \"*\": must be scheme://host or scheme://host:port, such as https://chat.example.org"
    );
    assert!(in_file("allowed_origins = 'https://*.a.example'").ends_with("must name one host: there are no wildcards"));
    let secret = in_file("allowed_origins = 'https://u:hunter2@a.example'");
    assert!(!secret.contains("hunter2"), "{secret}");
}

#[test]
fn values_of_the_wrong_type_are_refused() {
    assert_eq!(
        in_file("bind = ['a']"),
        "bind (bambisleep.toml line 1): takes one value, not an array"
    );
    assert_eq!(
        in_file("rate_limit_anonymous = 1.5"),
        "rate_limit_anonymous (bambisleep.toml line 1): a value of type float does not fit here"
    );
    assert_eq!(
        in_file("[bind]\naddress = '::1'"),
        "bind (bambisleep.toml line 1): a value of type table does not fit here"
    );
    assert_eq!(in_file("ai = true"), "ai (bambisleep.toml line 1): must be a table");
    assert_eq!(
        in_file("ai.models.A = 'gpt'"),
        "ai.models.A (bambisleep.toml line 1): must be a table"
    );
}

#[test]
fn unknown_keys_are_refused_with_the_likely_one() {
    assert_eq!(
        in_file("bind = '[::1]:1'\nbnid = '[::1]:1'\nzzz = 1"),
        "bnid (bambisleep.toml line 2): unknown key, did you mean bind?"
    );
    assert_eq!(in_file("zzz = 1"), "zzz (bambisleep.toml line 1): unknown key");
    assert_eq!(
        in_variable("BAMBISLEEP_DATABASE_URL", "sqlite:a"),
        "BAMBISLEEP_DATABASE_URL (environment variable): unknown setting, did you mean DATABASE_URL?"
    );
    assert_eq!(
        in_variable("BAMBISLEEP_BNID", "[::1]:1"),
        "BAMBISLEEP_BNID (environment variable): unknown setting, did you mean BAMBISLEEP_BIND?"
    );
    assert!(settings("", &[("PATH", "/bin"), ("OTHER_BIND", "x")], &[]).is_ok());
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStringExt as _;

    let variable = ("BAMBISLEEP_DATA_DIR".into(), OsString::from_vec(vec![0xff]));
    let error = Settings::from_sources(None, [variable], &Flags::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "data_dir (environment variable BAMBISLEEP_DATA_DIR): is not UTF-8"
    );
}

#[test]
fn a_file_that_is_not_toml_names_the_line_and_shows_nothing_of_it() {
    let message = in_file("bind = '[::1]:1'\ndatabase_url = 'postgres://u:hunter2@db/x");
    assert!(message.starts_with("bambisleep.toml line 2: not TOML: "), "{message}");
    assert!(!message.contains("hunter2") && !message.contains('\n'), "{message}");
    assert!(in_file("bind = '[::1]:1'\nbind = '[::1]:2'").starts_with("bambisleep.toml line 2: not TOML: "));
}

#[test]
fn a_named_file_must_exist() {
    let missing = Path::new("no-such-folder/chat.toml");
    assert_eq!(
        File::read(missing).err().unwrap().to_string(),
        "cannot read the settings file no-such-folder/chat.toml: no such file"
    );
    assert!(File::read_if_exists(missing).unwrap().is_none());
    let folder = File::read_if_exists(Path::new("src")).err().unwrap().to_string();
    assert!(folder.starts_with("cannot read the settings file src: "), "{folder}");
}

#[test]
fn sqlite_urls_create_the_file_unless_they_say_otherwise() {
    for (given, url) in [
        ("sqlite:a.db", "sqlite:a.db?mode=rwc"),
        ("sqlite://a.db", "sqlite://a.db?mode=rwc"),
        (
            "sqlite:///srv/a.db?cache=private",
            "sqlite:///srv/a.db?cache=private&mode=rwc",
        ),
        ("sqlite:a.db?mode=rw", "sqlite:a.db?mode=rw"),
    ] {
        let settings = settings("", &[("DATABASE_URL", given)], &[]).unwrap();
        assert_eq!(settings.database.url(), url);
    }
    let folder = settings("data_dir = '/srv/100% ours?'", &[], &[]).unwrap();
    assert_eq!(
        folder.database.url(),
        "sqlite:/srv/100%25 ours%3F/bambisleep.sqlite?mode=rwc"
    );
}

#[test]
fn origins_are_spelled_as_browsers_do() {
    for (given, origin) in [
        ("HTTPS://Chat.Example:443/", "https://chat.example"),
        ("http://chat.example:8080", "http://chat.example:8080"),
        ("http://[::1]:80", "http://[::1]"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ] {
        let settings = settings("", &[], &[("public_url", given)]).unwrap();
        assert_eq!(settings.public_url.unwrap().as_str(), origin);
    }
    for address in ["127.0.0.1:8080", "[::1]:80"] {
        let origin = WebOrigin::of(address.parse().unwrap());
        assert_eq!(Ok(origin), format!("http://{address}").parse(), "{address}");
    }
}

#[test]
fn a_network_loses_its_host_bits() {
    let settings = settings("trusted_proxies = ['10.1.2.3/8', '192.0.2.7']", &[], &[]).unwrap();
    let proxies: Vec<_> = settings.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "192.0.2.7/32"]);
}

#[test]
fn an_address_that_nobody_can_open_is_a_warning() {
    let warnings = settings("bind = '0.0.0.0:80'", &[], &[]).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("public_url is not set: "), "{warnings:?}");
}

const MODELS: &str = r#"
[ai.models.ZETA]
provider = "openai"
base_url = "http://127.0.0.1:1234/v1/"
model = "llama-3.1-8b"
api_key_env = "BAMBISLEEP_LLM_KEY"
timeout_seconds = 5
[ai.models.ALPHA]
provider = "scripted"
[ai.models."m 2"]
provider = "openai"
base_url = "https://llm.example"
model = "m"
[ai.speech]
provider = "openai"
base_url = "http://127.0.0.1:8880/v1"
model = "kokoro"
voice = "af_bella"
"#;

#[test]
fn models_keep_the_order_of_the_file() {
    let ai = settings(MODELS, &[("BAMBISLEEP_LLM_KEY", "hunter2")], &[]).unwrap().ai;
    let names: Vec<_> = ai.models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["ZETA", "ALPHA", "m 2"]);
    let Provider::OpenAi {
        base_url,
        model,
        api_key,
        timeout,
        ..
    } = &ai.models[0].provider
    else {
        panic!("not openai")
    };
    assert_eq!(
        base_url.join("chat/completions"),
        "http://127.0.0.1:1234/v1/chat/completions"
    );
    assert_eq!(model, "llama-3.1-8b");
    assert_eq!(api_key.as_ref().unwrap().expose_secret(), "hunter2");
    assert_eq!(*timeout, Duration::from_secs(5));
    assert!(matches!(ai.models[1].provider, Provider::Scripted));
    let Provider::OpenAi { api_key, timeout, .. } = &ai.models[2].provider else {
        panic!("not openai")
    };
    assert!(api_key.is_none());
    assert_eq!(*timeout, Duration::from_secs(60));
    let speech = ai.speech.expect("speech is configured");
    let SpeechProvider::OpenAi {
        voice,
        base_url,
        speed,
        max_characters,
        ..
    } = &speech.provider
    else {
        panic!("not openai")
    };
    assert_eq!(voice, "af_bella");
    assert_eq!(base_url.join("audio/speech"), "http://127.0.0.1:8880/v1/audio/speech");
    assert_eq!((*speed, *max_characters), (None, 4096));
    assert_eq!((speech.timeout, speech.calls_at_once), (Duration::from_secs(60), 2));
    assert_eq!(speech.keep, Some(Duration::from_secs(30 * 86_400)));
}

#[test]
fn what_is_not_said_of_models_has_defaults() {
    let ai = settings(MODELS, &[("BAMBISLEEP_LLM_KEY", "hunter2")], &[]).unwrap().ai;
    assert_eq!((ai.calls_at_once, ai.calls_waiting), (64, 64));
    assert_eq!(ai.wait, Duration::from_secs(10));
    let model = &ai.models[2];
    let prompt = "You are a friendly companion in a community chat.";
    assert_eq!(model.system_prompt.as_deref(), Some(prompt));
    assert_eq!(model.context_tokens, 8_192);
    let Provider::OpenAi {
        connect_timeout,
        first_token_timeout,
        temperature,
        max_answer_tokens,
        ..
    } = &model.provider
    else {
        panic!("not openai")
    };
    assert_eq!(*connect_timeout, Duration::from_secs(5));
    assert_eq!(*first_token_timeout, Duration::from_secs(30));
    assert_eq!((*temperature, *max_answer_tokens), (None, None));
}

#[test]
fn everything_of_a_model_can_be_said() {
    let text = "
[ai]
calls_at_once = 1
calls_waiting = 0
wait_seconds = 2
[ai.models.A]
provider = 'openai'
base_url = 'http://a'
model = 'm'
timeout_seconds = 90
connect_timeout_seconds = 3
first_token_timeout_seconds = 45
system_prompt = \"Be brief.\\r\\nBe\\tkind.\"
temperature = 0.75
context_tokens = 512
max_answer_tokens = 1
";
    let ai = settings(text, &[], &[]).unwrap().ai;
    assert_eq!((ai.calls_at_once, ai.calls_waiting), (1, 0));
    assert_eq!(ai.wait, Duration::from_secs(2));
    let model = &ai.models[0];
    assert_eq!(model.system_prompt.as_deref(), Some("Be brief.\nBe\tkind."));
    assert_eq!(model.context_tokens, 512);
    let Provider::OpenAi {
        timeout,
        connect_timeout,
        first_token_timeout,
        temperature,
        max_answer_tokens,
        ..
    } = &model.provider
    else {
        panic!("not openai")
    };
    assert_eq!(
        [*timeout, *connect_timeout, *first_token_timeout].map(|time| time.as_secs()),
        [90, 3, 45]
    );
    assert_eq!((*temperature, *max_answer_tokens), (Some(0.75), Some(1)));
    for (written, temperature) in [("0", 0.0), ("2", 2.0), ("'1.5'", 1.5), ("1_0e-1", 1.0)] {
        let text = text.replace("0.75", written);
        let ai = settings(&text, &[], &[]).unwrap().ai;
        let Provider::OpenAi { temperature: read, .. } = &ai.models[0].provider else {
            panic!("not openai")
        };
        assert_eq!(*read, Some(temperature), "{written}");
    }
    let silent = settings(&text.replace("Be brief.\\r\\nBe\\tkind.", " "), &[], &[])
        .unwrap()
        .ai;
    assert_eq!(silent.models[0].system_prompt, None);
}

#[test]
fn bad_values_of_models_are_named() {
    let seconds = "must be a whole number of seconds from 1 to 3600";
    let at_once = "must be a whole number from 1 to 10000";
    let temperature = "must be a number from 0 to 2";
    let context = "must be a whole number from 512 to 10000000";
    let long = format!("'{}'", "x".repeat(32_001));
    for (key, value, why) in [
        ("ai.calls_at_once", "0", at_once),
        ("ai.calls_at_once", "-1", at_once),
        ("ai.calls_at_once", "1.5", "a value of type float does not fit here"),
        ("ai.calls_waiting", "-1", "must be a whole number from 0 to 10000"),
        ("ai.wait_seconds", "0", seconds),
        ("ai.wait_seconds", "nan", "a value of type float does not fit here"),
        ("ai.models.A.connect_timeout_seconds", "0", seconds),
        ("ai.models.A.connect_timeout_seconds", "-5", seconds),
        ("ai.models.A.first_token_timeout_seconds", "3601", seconds),
        ("ai.models.A.first_token_timeout_seconds", "'soon'", seconds),
        ("ai.models.A.temperature", "nan", temperature),
        ("ai.models.A.temperature", "inf", temperature),
        ("ai.models.A.temperature", "-0.1", temperature),
        ("ai.models.A.temperature", "2.01", temperature),
        ("ai.models.A.temperature", "'hot'", temperature),
        ("ai.models.A.temperature", "true", temperature),
        ("ai.models.A.temperature", "[1.0]", "takes one value, not an array"),
        ("ai.models.A.context_tokens", "511", context),
        ("ai.models.A.context_tokens", "-1", context),
        (
            "ai.models.A.max_answer_tokens",
            "0",
            "must be a whole number from 1 to 1000000",
        ),
        ("ai.models.A.system_prompt", &long, "must have 32000 characters at most"),
        (
            "ai.models.A.system_prompt",
            "\"a\\u0000b\"",
            "must not have control characters",
        ),
    ] {
        // Checked where the provider does not need it, too.
        let text = format!("ai.models.A.provider = 'scripted'\n{key} = {value}");
        let message = in_file(&text);
        assert_eq!(message, format!("{key} (bambisleep.toml line 2): {why}"), "{value}");
    }
}

#[test]
fn a_key_that_is_not_set_is_a_warning_and_a_bad_one_an_error() {
    let settings = |variables: &[_]| settings(MODELS, variables, &[]);
    assert_eq!(
        settings(&[]).unwrap().warnings,
        ["ai.models.ZETA.api_key_env: BAMBISLEEP_LLM_KEY is not set, requests go without a key"]
    );
    assert_eq!(
        settings(&[("BAMBISLEEP_LLM_KEY", "hunter2\n")]).unwrap_err(),
        "ai.models.ZETA.api_key_env (bambisleep.toml line 6): \
         BAMBISLEEP_LLM_KEY holds spaces or other characters that no key has"
    );
    // A key's variable is known to its file alone.
    assert!(in_variable("BAMBISLEEP_LLM_KEY", "x").contains("unknown setting"));
}

#[test]
fn speech_can_be_a_command() {
    let text = "[ai.speech]\nprovider = 'command'\ncommand = ['espeak-ng', '--stdin', '--stdout']";
    let speech = settings(text, &[], &[]).unwrap().ai.speech.unwrap();
    let SpeechProvider::Command { program, arguments } = speech.provider else {
        panic!("not a command")
    };
    assert_eq!(program, "espeak-ng");
    assert_eq!(arguments, ["--stdin", "--stdout"]);
}

#[test]
fn speech_has_limits_that_can_be_set() {
    let text = "[ai.speech]\nprovider = 'openai'\nbase_url = 'http://a'\nmodel = 'm'\nvoice = 'v'\n\
                speed = 1.25\ntimeout_seconds = 7\ncalls_at_once = 5\nmax_characters = 500\nkeep_days = 0";
    let speech = settings(text, &[], &[]).unwrap().ai.speech.unwrap();
    assert_eq!((speech.timeout, speech.calls_at_once), (Duration::from_secs(7), 5));
    assert_eq!(speech.keep, None);
    let SpeechProvider::OpenAi {
        speed, max_characters, ..
    } = speech.provider
    else {
        panic!("not openai")
    };
    assert_eq!((speed, max_characters), (Some(1.25), 500));
}

#[test]
fn faults_of_models_and_speech_are_named() {
    for (text, message) in [
        (
            "[ai]\nmodel = 1",
            "ai.model (bambisleep.toml line 2): unknown key, did you mean models?",
        ),
        (
            "[ai.models.A]\nmodel = 'm'",
            "ai.models.A.provider (bambisleep.toml line 1): is missing: it must be openai or scripted",
        ),
        (
            "[ai.models.A]\nprovider = 'gemini'",
            "ai.models.A.provider (bambisleep.toml line 2): must be openai or scripted, not \"gemini\"",
        ),
        (
            "[ai.models.A]\nprovider = 'openai'\nmodel = 'm'",
            "ai.models.A.base_url (bambisleep.toml line 1): is missing: provider openai needs it",
        ),
        (
            "[ai.models.A]\nprovider = 'openai'\nbase_url = 'http://a'",
            "ai.models.A.model (bambisleep.toml line 1): is missing: provider openai needs it",
        ),
        (
            "[ai.models.A]\nprovider = 'scripted'\ntimeout = 1",
            "ai.models.A.timeout (bambisleep.toml line 3): unknown key, did you mean timeout_seconds?",
        ),
        (
            "[ai.models.A]\nprovider = 'scripted'\ntimeout_seconds = 0",
            "ai.models.A.timeout_seconds (bambisleep.toml line 3): must be a whole number of seconds from 1 to 3600",
        ),
        (
            "[ai.models.A]\nprovider = 'openai'\nmodel = ''",
            "ai.models.A.model (bambisleep.toml line 3): must not be empty",
        ),
        (
            "[ai.models.A]\nbase_url = 'ws://a'",
            "ai.models.A.base_url (bambisleep.toml line 2): must start with http:// or https://",
        ),
        (
            "[ai.models.A]\nbase_url = 'http://a/?key=1'",
            "ai.models.A.base_url (bambisleep.toml line 2): must not hold a query or a fragment",
        ),
        (
            "[ai.models.A]\nbase_url = 'http://u:p@a/'",
            "ai.models.A.base_url (bambisleep.toml line 2): \
             must not hold a user name or a password: name the key's variable in api_key_env",
        ),
        (
            "[ai.models.A]\napi_key_env = 'sk-hunter2'",
            "ai.models.A.api_key_env (bambisleep.toml line 2): \
             must be the name of an environment variable, not the key itself",
        ),
        (
            "[ai.speech]\nprovider = 'openai'\nbase_url = 'http://a'\nmodel = 'm'",
            "ai.speech.voice (bambisleep.toml line 1): is missing: provider openai needs it",
        ),
        (
            "[ai.speech]\nprovider = 'command'",
            "ai.speech.command (bambisleep.toml line 1): is missing: provider command needs it",
        ),
        (
            "[ai.speech]\nprovider = 'command'\ncommand = 'espeak-ng --stdin'",
            "ai.speech.command (bambisleep.toml line 3): must be an array of strings",
        ),
        (
            "[ai.speech]\nprovider = 'command'\ncommand = []",
            "ai.speech.command (bambisleep.toml line 3): must begin with the program to start",
        ),
        (
            "[ai.speech]\nprovider = 'command'\ncommand = ['bin/piper']",
            "ai.speech.command (bambisleep.toml line 3): must begin with a name to find in PATH or an absolute path",
        ),
        (
            "[ai.speech]\nspeed = 5",
            "ai.speech.speed (bambisleep.toml line 2): must be a number from 0.25 to 4",
        ),
        (
            "[ai.speech]\nspeed = nan",
            "ai.speech.speed (bambisleep.toml line 2): must be a number from 0.25 to 4",
        ),
        (
            "[ai.speech]\nmax_characters = 99",
            "ai.speech.max_characters (bambisleep.toml line 2): must be a whole number from 100 to 1000000",
        ),
        (
            "[ai.speech]\nprovider = 'command'\ncommand = ['a']\ncalls_at_once = 0",
            "ai.speech.calls_at_once (bambisleep.toml line 4): must be a whole number from 1 to 64",
        ),
        (
            "[ai.speech]\nprovider = 'command'\ncommand = ['a']\nkeep_days = 1.5",
            "ai.speech.keep_days (bambisleep.toml line 4): a value of type float does not fit here",
        ),
    ] {
        assert_eq!(in_file(text), message, "{text}");
    }
}

#[test]
fn secrets_are_not_printed() {
    let variables = [
        ("DATABASE_URL", "postgres://u:hunter2@db/x"),
        ("REDIS_URL", "redis://:hunter2@cache"),
        ("BAMBISLEEP_LLM_KEY", "hunter2"),
        ("BAMBISLEEP_SECRET_KEY", "aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMmh1bnQ="),
    ];
    let settings = settings(MODELS, &variables, &[]).unwrap();
    assert_eq!(settings.database.url(), "postgres://u:hunter2@db/x");
    let shown = format!("{settings:?}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("104, 117, 110"),
        "{shown}"
    );
    for (name, value) in [
        ("database_url", "postgres://u:hunter2@db:x/x"),
        ("database_url", "mysql://u:hunter2@db/x"),
        ("redis_url", "redis://:hunter2@cache/x"),
        ("public_url", "https://u:hunter2@chat.example"),
        ("secret_key", "hunter2"),
    ] {
        let message = self::settings("", &[], &[(name, value)]).unwrap_err();
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn names_flags_and_variables_go_together() {
    for setting in SETTINGS {
        assert_eq!(setting.flag, setting.name.replace('_', "-"));
        let name = setting.env.strip_prefix("BAMBISLEEP_").unwrap_or(setting.env);
        assert_eq!(name.to_lowercase(), setting.name);
        assert!(!setting.description.ends_with('.'), "{}", setting.name);
    }
    let database = SETTINGS.iter().find(|setting| setting.name == "database_url").unwrap();
    assert!(database.description.contains(SQLITE_FILE));
}

#[test]
fn the_table_has_a_row_for_each_setting() {
    let table = settings_table();
    assert_eq!(table.lines().count(), SETTINGS.len() + 2);
    assert!(table.contains("| `bind` | `BAMBISLEEP_BIND` | `--bind` | `127.0.0.1:8080` | Where the server listens"));
}

#[test]
fn files_are_in_a_folder_or_a_bucket() {
    let read = |text: &str| value::files_url(text).unwrap();
    let folder = |path: &str| FilesUrl::Folder(path.into());
    let bucket = |prefix: &str| FilesUrl::S3 {
        bucket: "b".to_owned(),
        prefix: prefix.to_owned(),
    };
    assert_eq!(read("file:///srv/of%20files"), folder("/srv/of files"));
    assert_eq!(read("s3://b"), bucket(""));
    assert_eq!(read("s3://b/"), bucket(""));
    assert_eq!(read("s3://b/chat/files/"), bucket("chat/files"));
    assert!(value::files_url("s3://b/a//c").is_err());
    assert!(value::files_url("file:///").is_err());
}
