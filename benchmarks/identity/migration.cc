#include "benchmarks/identity/migration.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "benchmarks/identity/pki.h"
#include "benchmarks/identity/raw_tls.h"
#include "benchmarks/identity/secret_files.h"
#include "benchmarks/identity/sockets.h"
#include "benchmarks/identity/steered.h"
#include "benchmarks/outages/world.h"

namespace mesh::benchmarks {
namespace {

constexpr int kServers = 3;
constexpr int kClients = 3;
constexpr int kCallsPerSecond = 1000;

constexpr absl::Duration kWarmUp = absl::Seconds(2);
constexpr absl::Duration kLookEvery = absl::Milliseconds(50);
// A changed file is read within a second.
constexpr absl::Duration kReloadTime = absl::Seconds(10);
// A client has moved when nothing was seen of its plaintext for so long.
constexpr absl::Duration kQuiet = absl::Seconds(1);
constexpr absl::Duration kMoveTime = absl::Seconds(60);
// A plaintext connection is to be gone 5 s after. The rest is two looks.
constexpr absl::Duration kGoneAfter = absl::Milliseconds(5100);
constexpr absl::Duration kStrictFor = absl::Seconds(6);
constexpr absl::Duration kRawTime = absl::Milliseconds(500);

class Migration {
 public:
  Migration();
  MigrationResult Play(int rounds);

 private:
  struct Process {
    std::string config;  // The file's name.
    std::unique_ptr<Steered> steered;
    identity::Stats last;
    int64_t before_strict = 0;  // Plaintext calls until it became strict.
  };

  std::string IdentityText(int process) const;
  void WriteServer(int server, const std::string& mode);
  void WriteClient(int client, bool tls);

  void Ask(Process* process);
  // Asks all processes and looks at the sockets, for `time` or until `done`.
  void WatchFor(
      absl::Duration time,
      const std::function<bool()>& done = [] { return false; });
  // Waits until a process has applied its file.
  void AwaitReload(Process* process, const std::function<void()>& write);
  void SetServers(const std::string& mode);
  // One client after the other.
  void SetClients(bool tls);
  int64_t PlaintextCalls() const;
  // Until plaintext calls have stopped.
  void AwaitQuiet();
  void StayStrict();
  // A plaintext connection with a call, which is held open.
  void HoldPlaintext();

  Pki pki_;
  const test::TempDirectory directory_;
  std::vector<std::unique_ptr<SecretFiles>> files_;
  std::vector<Process> servers_;
  std::vector<Process> clients_;
  std::set<int> server_ports_;
  std::vector<std::unique_ptr<RawConnection>> held_;
  ConnectionLog log_;
  // When the last client had moved to TLS.
  absl::Time good_since_ = absl::InfinitePast();
  MigrationResult result_;
};

Migration::Migration() {
  for (int i = 0; i < kServers + kClients; ++i) {
    const std::string directory = absl::StrCat(directory_.path(), "/", i);
    std::filesystem::create_directory(directory);
    const std::string name =
        i < kServers ? "server" : absl::StrCat("client", i - kServers);
    files_.push_back(
        std::make_unique<SecretFiles>(directory, pki_.Issue(name)));
  }
  servers_.resize(kServers);
  clients_.resize(kClients);
  for (int i = 0; i < kServers; ++i) {
    servers_[i].config = absl::StrCat("server", i, ".yaml");
    WriteServer(i, "plaintext");
    servers_[i].steered = std::make_unique<Steered>(std::vector<std::string>{
        IdentityProgram("identity_server"), absl::StrCat("--name=s", i),
        "--port=0",
        absl::StrCat("--config=", directory_.path(), "/", servers_[i].config)});
    server_ports_.insert(PortOf(servers_[i].steered->address()));
  }
  for (int i = 0; i < kClients; ++i) {
    clients_[i].config = absl::StrCat("client", i, ".yaml");
    WriteClient(i, /*tls=*/false);
    const std::string config =
        absl::StrCat(directory_.path(), "/", clients_[i].config);
    clients_[i].steered = std::make_unique<Steered>(std::vector<std::string>{
        IdentityProgram("identity_client"),
        absl::StrCat("--rate=",
                     static_cast<double>(kCallsPerSecond) / kClients),
        "--config=" + config, "--fresh_config=" + config});
  }
}

std::string Migration::IdentityText(int process) const {
  const SecretFiles& files = *files_[process];
  return absl::StrCat(
      "identity:\n  files:\n    cert: ", files.PathOf(SecretFiles::kCert),
      "\n    key: ", files.PathOf(SecretFiles::kKey),
      "\n    ca: ", files.PathOf(SecretFiles::kBundle), "\n");
}

void Migration::WriteServer(int server, const std::string& mode) {
  directory_.Write(
      servers_[server].config,
      absl::StrCat(IdentityText(server), "server: {mode: ", mode, "}\n"));
}

void Migration::WriteClient(int client, bool tls) {
  std::vector<std::string> addresses;
  for (const Process& server : servers_) {
    addresses.push_back(absl::StrCat("\"", server.steered->address(), "\""));
  }
  directory_.Write(
      clients_[client].config,
      absl::StrCat(IdentityText(kServers + client),
                   "services:\n  test: {endpoints: [",
                   absl::StrJoin(addresses, ", "), "], tls: ",
                   tls ? absl::StrCat("{peer: \"", Pki::IdOf("server"), "\"}")
                       : "{mode: plaintext}",
                   ", policy: {idempotent: true}}\n"));
}

void Migration::Ask(Process* process) {
  const std::optional<identity::Stats> stats = process->steered->Ask();
  if (!stats.has_value()) {
    if (!process->steered->Runs()) Die(process->config + ": it has ended");
    return;
  }
  AddSightings(*stats, &log_);
  for (const std::string& failure : stats->failures()) {
    Progress(absl::StrCat("  ", process->config, ": ", failure));
  }
  process->last = *stats;
}

void Migration::WatchFor(absl::Duration time,
                         const std::function<bool()>& done) {
  const absl::Time end = Now() + time;
  for (absl::Time next = Now(); next < end && !done(); next += kLookEvery) {
    absl::SleepFor(next - Now());
    for (Process& server : servers_) Ask(&server);
    for (Process& client : clients_) Ask(&client);
    log_.Look(LookAtSockets(server_ports_), Now());
  }
}

void Migration::AwaitReload(Process* process,
                            const std::function<void()>& write) {
  const int64_t before = process->last.config_reloads();
  write();
  WatchFor(kReloadTime,
           [&] { return process->last.config_reloads() > before; });
  if (process->last.config_reloads() == before) {
    Die(process->config + " was not applied");
  }
}

void Migration::SetServers(const std::string& mode) {
  for (int i = 0; i < kServers; ++i) {
    AwaitReload(&servers_[i], [&] { WriteServer(i, mode); });
    servers_[i].before_strict = servers_[i].last.plaintext_calls();
  }
}

int64_t Migration::PlaintextCalls() const {
  int64_t calls = 0;
  for (const Process& server : servers_) {
    calls += server.last.plaintext_calls();
  }
  return calls;
}

void Migration::AwaitQuiet() {
  const absl::Time begun = Now();
  int64_t calls = PlaintextCalls();
  absl::Time since = Now();
  WatchFor(kMoveTime, [&] {
    if (PlaintextCalls() != calls) {
      calls = PlaintextCalls();
      since = Now();
    }
    return Now() >= since + kQuiet;
  });
  if (Now() < since + kQuiet) Die("clients go on in plaintext");
  result_.client_moved = std::max(result_.client_moved, since - begun);
}

void Migration::SetClients(bool tls) {
  for (int i = 0; i < kClients; ++i) {
    AwaitReload(&clients_[i], [&] { WriteClient(i, tls); });
  }
}

void Migration::HoldPlaintext() {
  for (const bool call : {false, true}) {
    const std::string address = servers_[call ? 1 : 0].steered->address();
    auto connection = RawConnection::Dial(address, nullptr, kRawTime);
    if (connection == nullptr || !connection->Hello() ||
        (call && !connection->Call())) {
      Die("a permissive server takes no plaintext");
    }
    log_.SeenByServer({connection->local_port(), PortOf(address)}, "", Now());
    held_.push_back(std::move(connection));
    ++result_.held;
  }
}

void Migration::StayStrict() {
  const absl::Time begun = Now();
  bool judged = false;
  int turn = 0;
  WatchFor(kStrictFor, [&] {
    // Somebody who has not heard of it.
    const std::string address = servers_[turn++ % kServers].steered->address();
    const auto intruder = RawConnection::Dial(address, nullptr, kRawTime);
    ++result_.tried_in_strict;
    if (intruder != nullptr && intruder->Hello()) (void)intruder->Call();
    const ConnectionLog::Count open = log_.Bad(
        [](const std::string& serial) { return serial.empty(); }, good_since_);
    if (open.all() > 0) {
      result_.strict_plaintext_last =
          std::max(result_.strict_plaintext_last, Now() - begun);
    }
    if (!judged && Now() >= begun + kGoneAfter) {
      judged = true;
      result_.strict_plaintext_open += open.all();
      result_.strict_plaintext_unknown += open.unknown;
    }
    return false;
  });
  for (const Process& server : servers_) {
    result_.plaintext_calls_in_strict +=
        server.last.plaintext_calls() - server.before_strict;
  }
  held_.clear();
}

MigrationResult Migration::Play(int rounds) {
  WatchFor(kWarmUp);
  for (int round = 0; round < rounds; ++round) {
    Progress(absl::StrCat("round ", round + 1, " of ", rounds));
    SetServers("permissive");
    SetClients(/*tls=*/true);
    AwaitQuiet();
    good_since_ = Now() - kQuiet;
    HoldPlaintext();
    SetServers("strict");
    StayStrict();
    SetServers("permissive");
    SetClients(/*tls=*/false);
    WatchFor(kQuiet);
    SetServers("plaintext");
    WatchFor(kQuiet);
  }
  WatchFor(kWarmUp);
  for (const Process& client : clients_) {
    result_.calls += client.last.calls();
    result_.failed += client.last.failed();
    result_.late += client.last.late();
  }
  result_.rounds = rounds;
  return result_;
}

}  // namespace

MigrationResult PlayMigration(int rounds) { return Migration().Play(rounds); }

}  // namespace mesh::benchmarks
