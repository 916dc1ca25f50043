// Rows of things that change under load: names, streams, reloads, credentials.

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "benchmarks/outages/clients.h"
#include "benchmarks/outages/load.h"
#include "benchmarks/outages/rows.h"
#include "benchmarks/outages/world.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/support/byte_buffer.h"
#include "tests/process/process.h"

namespace mesh::benchmarks {

// ---------------------------------------------------------------------------
// dns_empty

namespace {

// Three servers of one port on three loopback addresses.
Servers ServersOfOnePort() {
  for (int i = 0; i < 20; ++i) {
    Servers servers;
    std::string port = "0";
    for (int host = 2; host < 5; ++host) {
      Server::Options options;
      options.name = absl::StrCat("s", host);
      options.addresses = {absl::StrCat("127.0.0.", host, ":", port)};
      options.must_start = false;
      servers.push_back(std::make_unique<Server>(std::move(options)));
      if (servers.back()->address().empty()) break;
      port = absl::StrCat(PortOf(servers.back()->address()));
    }
    if (servers.size() == 3 && !servers.back()->address().empty()) {
      return servers;
    }
  }
  Die("no port that is free on three addresses");
}

// A name server for one name, with a TTL of 1 s. The name is there always, for
// it has a text record too, so without addresses it is empty.
class NameServer {
 public:
  static constexpr char kName[] = "servers.mesh.test";

  explicit NameServer(const std::vector<std::string>& hosts) {
    for (int i = 0; i < 20; ++i) {
      Write(hosts);
      port_ = test::UnusedPort();
      process_ = StartChild({
          "dnsmasq",
          "--no-daemon",  // In the foreground, as this user.
          "--log-facility=/dev/null",
          "--conf-file=/dev/null",
          "--listen-address=127.0.0.1",
          "--bind-interfaces",
          absl::StrCat("--port=", port_),
          "--no-resolv",
          "--no-hosts",
          absl::StrCat("--addn-hosts=", directory_.path(), "/hosts"),
          "--local-ttl=1",
          "--local=/mesh.test/",
          absl::StrCat("--txt-record=", kName, ",there"),
      });
      for (int j = 0; j < 100; ++j) {
        if (process_->Ended()) break;
        if (test::Listens(port_)) return;
        absl::SleepFor(absl::Milliseconds(50));
      }
    }
    Die("no name server");
  }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  void Set(const std::vector<std::string>& hosts) {
    Write(hosts);
    process_->Signal(SIGHUP);
  }

 private:
  void Write(const std::vector<std::string>& hosts) {
    std::string text;
    for (const std::string& host : hosts) {
      absl::StrAppend(&text, host, " ", kName, "\n");
    }
    directory_.Write("hosts", text);
  }

  const test::TempDirectory directory_;
  int port_ = 0;
  std::unique_ptr<test::Process> process_;
};

}  // namespace

void DnsEmpty(Figures* figures) {
  Progress("dns_empty");
  const Servers servers = ServersOfOnePort();
  const std::vector<std::string> hosts = {"127.0.0.2", "127.0.0.3",
                                          "127.0.0.4"};
  NameServer names(hosts);
  v1::Config config = OneService();
  v1::Dns& dns = *TheService(&config).mutable_dns();
  dns.set_name(NameServer::kName);
  dns.set_port(PortOf(servers[0]->address()));
  dns.add_servers(names.address());
  MeshClient client(config);
  OpenLoop load(200, [&client] { return client.stub(); });
  absl::SleepFor(load.start() + absl::Seconds(5) - Now());
  names.Set({});
  const absl::Time fault = Now();
  absl::SleepFor(fault + absl::Seconds(40) - Now());
  names.Set(hosts);
  absl::SleepFor(fault + absl::Seconds(55) - Now());
  const telemetry::Snapshot snapshot = client.mesh().Metrics();
  const std::vector<Outcome> outcomes = load.Stop();
  Progress(absl::StrCat(
      "  dns_empty: ", FailuresOf(outcomes), " of ", outcomes.size(), ", ",
      snapshot.services[0].discovery_doubted, " empty answers held back"));
  const Counts counts =
      CountDue(outcomes, load.start(), absl::InfiniteFuture());
  figures->Tell("dns_empty.late", static_cast<double>(counts.late));
  figures->Judge("dns_empty.failed", static_cast<double>(counts.failed),
                 AtMost(0));
}

// ---------------------------------------------------------------------------
// streams

namespace {

// Streams that are open and idle: each has sent a message and has had its
// answer.
class OpenStreams {
 public:
  explicit OpenStreams(std::shared_ptr<grpc::ChannelInterface> channel)
      : stub_(std::move(channel)) {}

  ~OpenStreams() {
    for (const auto& stream : streams_) stream->context.TryCancel();
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }

  // How many of `count` did not come up.
  int Open(int count) {
    constexpr int kAtOnce = 200;
    int up = 0, failed = 0, begun = 0;
    while (up + failed < count) {
      while (begun < count && begun - up - failed < kAtOnce) {
        Begin();
        ++begun;
      }
      void* tag = nullptr;
      bool ok = false;
      const auto deadline =
          std::chrono::system_clock::now() + std::chrono::seconds(30);
      if (queue_.AsyncNext(&tag, &ok, deadline) !=
          grpc::CompletionQueue::GOT_EVENT) {
        return count - up;  // None of the rest comes up.
      }
      Stream* const stream = static_cast<Stream*>(tag);
      if (!ok) {
        ++failed;
      } else if (++stream->step == 1) {
        stream->call->Write(OneMessage(), tag);
      } else if (stream->step == 2) {
        stream->call->Read(&stream->answer, tag);
      } else {
        ++up;
      }
    }
    return failed;
  }

 private:
  struct Stream {
    grpc::ClientContext context;
    std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call;
    grpc::ByteBuffer answer;
    int step = 0;  // Started, written, read.
  };

  static grpc::ByteBuffer OneMessage() {
    const grpc::Slice slice("x");
    return grpc::ByteBuffer(&slice, 1);
  }

  void Begin() {
    streams_.push_back(std::make_unique<Stream>());
    Stream* const stream = streams_.back().get();
    // A name that the server's raw service answers: it takes no thread a
    // stream.
    stream->call =
        stub_.PrepareCall(&stream->context, "/mesh.test.Raw/Echo", &queue_);
    stream->call->StartCall(stream);
  }

  grpc::GenericStub stub_;
  grpc::CompletionQueue queue_;
  std::vector<std::unique_ptr<Stream>> streams_;
};

}  // namespace

void Streams(Figures* figures) {
  constexpr int kStreams = 12000;
  constexpr int kCalls = 1000;
  Progress("streams");
  Servers servers;
  for (const char* const name : {"s0", "s1"}) {
    Server::Options options;
    options.name = name;
    options.raw_service = true;
    servers.push_back(std::make_unique<Server>(std::move(options)));
  }
  const EndpointList list(Places(AddressesOf(servers)));
  MeshClient client(ServiceIn(list));
  OpenStreams streams(client.mesh().Channel("test"));
  const int not_up = streams.Open(kStreams);
  int failed = 0;
  const StubPtr stub = client.stub();
  for (int i = 0; i < kCalls; ++i) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         absl::ToChronoMicroseconds(kDeadline));
    test::Reply reply;
    failed += stub->Unary(&context, test::Request(), &reply).ok() ? 0 : 1;
  }
  figures->Tell("streams.not_up", not_up);
  figures->Tell("streams.unary_failed", failed);
  figures->Judge("streams.failed", not_up + failed, AtMost(0));
}

// ---------------------------------------------------------------------------
// churn

void ChurnRow(Figures* figures) {
  double worst = 0;
  for (const bool calls : {true, false}) {
    Progress(calls ? "churn, with calls" : "churn, without a call");
    const Servers one = StartServers("s", 3);
    const Servers other = StartServers("t", 3);
    const auto client =
        StartChild({ProgramPath("outages_client"), "churn", calls ? "100" : "0",
                    absl::StrJoin(AddressesOf(one), ","),
                    absl::StrJoin(AddressesOf(other), ",")});
    const absl::StatusOr<std::string> line = client->ReadLine(absl::Minutes(2));
    if (!line.ok()) Die(line.status().message());
    const std::vector<std::string> words = absl::StrSplit(*line, ' ');
    double before = 0, after = 0;
    if (words.size() != 3 || !absl::SimpleAtod(words[0], &before) ||
        !absl::SimpleAtod(words[1], &after) || before <= 0) {
      Die("a client says \"" + *line + "\"");
    }
    Progress(absl::StrCat("  churn: ", before, " descriptors before, ", after,
                          " after, ", words[2], " calls failed"));
    figures->Tell(calls ? "churn.descriptors_with_calls"
                        : "churn.descriptors_without_calls",
                  after / before);
    worst = std::max(worst, after / before);
  }
  figures->Judge("churn.descriptors", worst, AtMost(1.2));
}

// ---------------------------------------------------------------------------
// reload_tls

namespace {

struct Certificate {
  std::string cert_file;
  std::string key_file;
};

// Signed by `issuer`. Without one: an authority.
Certificate MakeCertificate(const test::TempDirectory& directory,
                            const std::string& name,
                            const Certificate* issuer) {
  const std::string base = absl::StrCat(directory.path(), "/", name);
  const Certificate made = {base + ".pem", base + ".key"};
  // It says nothing on stderr but what the certificate does not need.
  std::vector<std::string> command = {"sh",
                                      "-c",
                                      "exec \"$@\" 2>/dev/null",
                                      "sh",
                                      "openssl",
                                      "req",
                                      "-x509",
                                      "-newkey",
                                      "ec",
                                      "-pkeyopt",
                                      "ec_paramgen_curve:prime256v1",
                                      "-nodes",
                                      "-days",
                                      "2",
                                      "-subj",
                                      "/CN=" + name,
                                      "-keyout",
                                      made.key_file,
                                      "-out",
                                      made.cert_file};
  if (issuer != nullptr) {
    for (const std::string& word :
         {std::string("-CA"), issuer->cert_file, std::string("-CAkey"),
          issuer->key_file, std::string("-addext"),
          "subjectAltName=DNS:" + name}) {
      command.push_back(word);
    }
  }
  const auto result = test::RunToEnd(command, absl::Seconds(60));
  if (!result.ok()) Die(result.status().message());
  return made;
}

}  // namespace

void ReloadTls(Figures* figures) {
  Progress("reload_tls");
  constexpr int kChanges = 10;
  const test::TempDirectory directory;
  const Certificate authority =
      MakeCertificate(directory, "authority", nullptr);
  const Certificate server = MakeCertificate(directory, "test", &authority);
  std::vector<Certificate> clients;
  for (int i = 0; i <= kChanges; ++i) {
    clients.push_back(
        MakeCertificate(directory, absl::StrCat("client", i), &authority));
  }
  const Servers servers = StartServers(
      "s", 3,
      {"--tls_cert=" + server.cert_file, "--tls_key=" + server.key_file,
       "--tls_client_ca=" + authority.cert_file});
  const EndpointList list(Places(AddressesOf(servers)));
  v1::Config config = ServiceIn(list);
  v1::Tls& tls = *TheService(&config).mutable_tls();
  tls.set_ca_file(authority.cert_file);
  tls.set_cert_file(clients[0].cert_file);
  tls.set_key_file(clients[0].key_file);
  MeshClient client(config);
  OpenLoop load(500, [&client] { return client.stub(); });
  for (int i = 1; i <= kChanges; ++i) {
    absl::SleepFor(load.start() + absl::Seconds(1 + 2 * i) - Now());
    tls.set_cert_file(clients[i].cert_file);
    tls.set_key_file(clients[i].key_file);
    const absl::Status status = client.mesh().Reload(config);
    if (!status.ok()) Die(status.message());
  }
  absl::SleepFor(absl::Seconds(3));
  const std::vector<Outcome> outcomes = load.Stop();
  Progress(absl::StrCat("  reload_tls: ", outcomes.size(), " calls; ",
                        FailuresOf(outcomes)));
  const Counts counts =
      CountDue(outcomes, load.start(), absl::InfiniteFuture());
  figures->Tell("reload_tls.late", static_cast<double>(counts.late));
  figures->Judge("reload_tls.failed", static_cast<double>(counts.failed),
                 AtMost(0));
}

}  // namespace mesh::benchmarks
