// A configuration for an example of the documentation: a free port, and a directory that is removed
// when it is dropped. The examples include this expression, so that one hidden line sets them up.
{
    let directory = tempfile::tempdir()?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    (pares::Config::new("doc").port(port).state_directory(directory.path()), directory)
}
