// As group.rs, for a group without a master.
{
    let directory = tempfile::tempdir()?;
    let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    (pares::masterless::Config::new("doc").local(port).state_directory(directory.path()), directory)
}
