#include "benchmarks/identity/fleet.h"

#include <signal.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "benchmarks/outages/world.h"
#include "mesh/certs/agent.h"

namespace mesh::benchmarks {
namespace {

constexpr int kCallsPerSecond = 1000;
constexpr int kConnectsPerSecond = 20;

constexpr absl::Duration kLookEvery = absl::Milliseconds(50);
constexpr absl::Duration kSampleEvery = absl::Milliseconds(20);
constexpr absl::Duration kHandshakeTime = absl::Seconds(1);
constexpr absl::Duration kAgentTime = absl::Seconds(20);
constexpr absl::Duration kHeldTime = absl::Milliseconds(50);
// A withdrawn connection is to be gone 5 s after. The rest is two looks.
constexpr absl::Duration kGoneAfter = absl::Milliseconds(5100);
// For how long it is looked at whether one is still there.
constexpr absl::Duration kWatched = absl::Seconds(15);
constexpr int kMostFailuresTold = 20;

constexpr char kTrustDomain[] = "bench";

}  // namespace

std::string Fleet::NameOf(int member) {
  return member < kServers ? "server"
                           : absl::StrCat("client", member - kServers);
}

Fleet::Fleet(Arm arm, Pki* pki) : arm_(arm), pki_(pki), last_(kMembers) {
  char sockets[] = "/tmp/mesh-identity.XXXXXX";
  if (mkdtemp(sockets) == nullptr) Die("no directory for sockets");
  sockets_ = sockets;
  for (int i = 0; i < kMembers; ++i) {
    std::filesystem::create_directory(DirectoryOf(i));
    secrets_.push_back(pki_->Issue(NameOf(i)));
    files_.push_back(
        std::make_unique<SecretFiles>(DirectoryOf(i), secrets_.back()));
    SetSecret(i, secrets_[i]);
  }
  RenewProber();
  if (arm_ == Arm::kAgent) {
    std::vector<std::string> paths;
    for (int i = 0; i < kMembers + kClients; ++i)
      paths.push_back(SocketPath(i));
    agent_ = std::make_unique<Steered>(
        std::vector<std::string>{IdentityProgram("identity_agent"),
                                 "--sockets=" + absl::StrJoin(paths, ",")});
    PushAll();
  }
  WriteConfigs();
  for (int i = 0; i < kServers; ++i) {
    members_.push_back(std::make_unique<Steered>(ServerCommand(i)));
    server_ports_.insert(PortOf(members_.back()->address()));
  }
  WriteConfigs();  // Clients know the servers now.
  for (int i = kServers; i < kMembers; ++i) {
    members_.push_back(std::make_unique<Steered>(ClientCommand(i)));
  }
  threads_.emplace_back([this] { Watch(); });
  threads_.emplace_back([this] { Hold(0, /*call=*/false); });
  threads_.emplace_back([this] { Hold(1, /*call=*/true); });
}

Fleet::~Fleet() {
  stopping_ = true;
  for (std::thread& thread : threads_) thread.join();
  // Clients first, so that they see no server go.
  while (!members_.empty()) members_.pop_back();
  agent_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(sockets_, ignored);
}

// ---------------------------------------------------------------------------
// Setting up

std::string Fleet::DirectoryOf(int member) const {
  return absl::StrCat(directory_.path(), "/", member);
}

std::string Fleet::SocketPath(int socket) const {
  return absl::StrCat(sockets_, "/", socket);
}

std::vector<int> Fleet::SocketsOf(int member) const {
  if (member < kServers) return {member};
  return {member, member + kClients};
}

std::string Fleet::IdentityText(int socket, int member) const {
  if (arm_ == Arm::kAgent) {
    return absl::StrCat("identity: {spiffe: \"unix://", SocketPath(socket),
                        "\"}\n");
  }
  const SecretFiles& files = *files_[member];
  return absl::StrCat(
      "identity:\n  files:\n    cert: ", files.PathOf(SecretFiles::kCert),
      "\n    key: ", files.PathOf(SecretFiles::kKey),
      "\n    ca: ", files.PathOf(SecretFiles::kBundle), "\n");
}

void Fleet::WriteConfigs() {
  std::vector<std::string> addresses;
  for (const auto& server : members_) {
    addresses.push_back(absl::StrCat("\"", server->address(), "\""));
  }
  const std::string service = absl::StrCat(
      "{endpoints: [", absl::StrJoin(addresses, ", "), "], tls: {peer: \"",
      Pki::IdOf(NameOf(0)), "\"}, policy: {idempotent: true}}\n");
  for (int i = 0; i < kMembers; ++i) {
    if (i < kServers) {
      directory_.Write(
          absl::StrCat(i, ".yaml"),
          absl::StrCat(IdentityText(i, i), "server: {mode: strict}\n"));
      continue;
    }
    directory_.Write(
        absl::StrCat(i, ".yaml"),
        absl::StrCat(IdentityText(SocketsOf(i)[0], i),
                     "services:\n  test: ", service, "  fresh: ", service));
    directory_.Write(absl::StrCat(i, ".fresh.yaml"),
                     absl::StrCat(IdentityText(SocketsOf(i)[1], i),
                                  "services:\n  test: ", service));
  }
}

std::vector<std::string> Fleet::ServerCommand(int member) const {
  return {
      IdentityProgram("identity_server"), absl::StrCat("--name=s", member),
      "--port=0",
      arm_ == Arm::kStock
          ? absl::StrCat("--stock=", DirectoryOf(member), "/secrets/current")
          : absl::StrCat("--config=", directory_.path(), "/", member, ".yaml")};
}

std::vector<std::string> Fleet::ClientCommand(int member) const {
  std::vector<std::string> servers;
  for (int i = 0; i < kServers; ++i) servers.push_back(members_[i]->address());
  const std::string base = absl::StrCat(directory_.path(), "/", member);
  std::vector<std::string> command = {
      IdentityProgram("identity_client"),
      absl::StrCat("--rate=", kCallsPerSecond / kClients),
      absl::StrCat("--connects=", kConnectsPerSecond / kClients),
      absl::StrCat("--raw=", base, ".raw"),
      "--servers=" + absl::StrJoin(servers, ",")};
  if (member == kServers) command.push_back("--stream");
  if (arm_ == Arm::kStock) {
    command.push_back(absl::StrCat("--stock=", base, "/secrets/current"));
  } else {
    command.push_back(absl::StrCat("--config=", base, ".yaml"));
    command.push_back(absl::StrCat("--fresh_config=", base, ".fresh.yaml"));
  }
  return command;
}

// ---------------------------------------------------------------------------
// Identities

void Fleet::SetSecret(int member, Secret secret) {
  secrets_[member] = std::move(secret);
  if (member < kServers) return;
  directory_.Write(absl::StrCat(member, ".raw"), secrets_[member].Raw().Text());
}

std::string Fleet::AnswerWith(int member, const Secret& secret) const {
  certs::AgentSvid svid;
  svid.spiffe_id = Pki::IdOf(NameOf(member));
  svid.bytes.chain = secret.chain;
  svid.bytes.key = secret.key;
  svid.bytes.bundles[kTrustDomain] = secret.bundle;
  absl::StatusOr<std::string> answer = certs::AgentResponse({svid});
  if (!answer.ok()) Die(answer.status().message());
  return *std::move(answer);
}

void Fleet::Push(int member, const std::string& answer) {
  for (const int socket : SocketsOf(member)) {
    if (!agent_->Push(socket, answer)) Die("the agent does not answer");
  }
}

void Fleet::PushAll() {
  for (int i = 0; i < kMembers; ++i) Push(i, AnswerWith(i, secrets_[i]));
}

absl::Duration Fleet::KillAgent() {
  agent_->Restart();
  const absl::Time begun = Now();
  PushAll();
  while (Now() < begun + kAgentTime) {
    const std::optional<identity::Stats> stats = agent_->Ask();
    bool all = stats.has_value();
    for (int i = 0; all && i < kMembers; ++i) all = stats->streams(i) > 0;
    if (all) break;
    absl::SleepFor(kSampleEvery);
  }
  return Now() - begun;
}

void Fleet::RenewProber() {
  const Secret secret = pki_->Issue("prober");
  auto context = RawContext::Make(secret.Raw(), /*verify=*/false);
  if (!context.ok()) Die(context.status().message());
  base::MutexLock lock(&mu_);
  prober_ = *std::move(context);
  prober_serial_ = secret.serial;
}

std::shared_ptr<const RawContext> Fleet::prober() const {
  base::MutexLock lock(&mu_);
  return prober_;
}

// ---------------------------------------------------------------------------
// Measuring

std::optional<identity::Stats> Fleet::Ask(int member, bool memory) {
  std::optional<identity::Stats> stats = members_[member]->Ask(memory);
  if (!stats.has_value()) return stats;
  base::MutexLock lock(&mu_);
  AddSightings(*stats, &log_);
  stats->clear_sightings();
  for (const std::string& failure : stats->failures()) {
    if (failures_told_++ >= kMostFailuresTold) break;
    Progress(absl::StrCat("  ", NameOf(member), ": ", failure));
  }
  totals_.generations_open =
      std::max(totals_.generations_open, stats->generations_open());
  // Two may have asked at once.
  if (stats->calls() >= last_[member].calls()) last_[member] = *stats;
  return stats;
}

uint64_t Fleet::Generation(int member) {
  const std::optional<identity::Stats> stats = Ask(member, false);
  return stats.has_value() ? stats->generation() : 0;
}

std::optional<Fleet::Memory> Fleet::AskMemory(int member) {
  const std::optional<identity::Stats> stats = Ask(member, true);
  if (!stats.has_value()) return std::nullopt;
  return Memory{static_cast<double>(stats->rss_bytes()) / 1024,
                static_cast<double>(stats->descriptors())};
}

std::string Fleet::SerialOfServer(int member) {
  const auto connection = RawConnection::Dial(members_[member]->address(),
                                              prober(), kHandshakeTime);
  return connection == nullptr ? "" : connection->server_serial();
}

absl::Time Fleet::AwaitSerial(int member, const std::string& serial,
                              absl::Duration timeout) {
  if (member >= kServers) return members_[member]->AwaitSerial(serial, timeout);
  const absl::Time end = Now() + timeout;
  for (absl::Time next = Now(); next < end;
       next = std::max(next + kSampleEvery, Now())) {
    absl::SleepFor(next - Now());
    if (SerialOfServer(member) == serial) return Now();
  }
  return absl::InfiniteFuture();
}

void Fleet::Withdrawn(absl::Time good_since) {
  Withdrawal withdrawal;
  withdrawal.at = Now();
  withdrawal.good_since = good_since;
  withdrawal.authority = pki_->oldest();
  base::MutexLock lock(&mu_);
  withdrawals_.push_back(withdrawal);
}

void Fleet::JudgeWithdrawals(absl::Time now) {
  for (Withdrawal& withdrawal : withdrawals_) {
    const ConnectionLog::Count count = log_.Bad(
        [&](const std::string& serial) {
          return pki_->IsOlder(serial, withdrawal.authority);
        },
        withdrawal.good_since);
    if (count.all() > 0) {
      totals_.withdrawn_last =
          std::max(totals_.withdrawn_last, now - withdrawal.at);
    }
    if (withdrawal.judged || now < withdrawal.at + kGoneAfter) continue;
    withdrawal.judged = true;
    totals_.withdrawn_open += count.all();
    totals_.withdrawn_unknown += count.unknown;
    for (const std::string& one : count.which) {
      Progress(absl::StrCat("  not gone ", absl::FormatDuration(kGoneAfter),
                            " after a withdrawal: ", one));
    }
  }
  withdrawals_.erase(std::remove_if(withdrawals_.begin(), withdrawals_.end(),
                                    [now](const Withdrawal& withdrawal) {
                                      return now > withdrawal.at + kWatched;
                                    }),
                     withdrawals_.end());
}

void Fleet::Watch() {
  absl::Time next = Now();
  for (int i = 0; !stopping_; ++i) {
    // Sightings first, so that what is found has them.
    if (i % 2 == 0) {
      for (int member = 0; member < kMembers; ++member) Ask(member, false);
    }
    // What stays open was open then, however long the look takes.
    const absl::Time now = Now();
    const std::set<Pair> open = LookAtSockets(server_ports_);
    {
      base::MutexLock lock(&mu_);
      log_.Look(open, now);
      JudgeWithdrawals(now);
    }
    next = std::max(next + kLookEvery, Now());
    absl::SleepFor(next - Now());
  }
}

void Fleet::Hold(int server, bool call) {
  const std::string address = members_[server]->address();
  while (!stopping_) {
    absl::SleepFor(kHeldTime);
    std::shared_ptr<const RawContext> context;
    std::string serial;
    {
      base::MutexLock lock(&mu_);
      context = prober_;
      serial = prober_serial_;
    }
    const auto connection =
        RawConnection::Dial(address, context, kHandshakeTime);
    if (connection == nullptr || !connection->Hello()) continue;
    if (call && !connection->Call()) continue;
    const Pair pair = {connection->local_port(), PortOf(address)};
    {
      base::MutexLock lock(&mu_);
      log_.SeenByServer(pair, serial, Now());
      log_.SeenByClient(pair, connection->server_serial(), Now());
    }
    while (!stopping_ && !connection->Closed()) absl::SleepFor(kHeldTime);
    base::MutexLock lock(&mu_);
    if (!stopping_) ++totals_.streams_ended;
  }
}

void Fleet::Revive() {
  for (int i = 0; i < kMembers; ++i) {
    if (members_[i]->Runs()) continue;
    {
      base::MutexLock lock(&mu_);
      ++totals_.crashed;
      // What it had counted is over.
      totals_.calls += last_[i].calls();
      totals_.failed += last_[i].failed();
      totals_.late += last_[i].late();
      totals_.connects += last_[i].connects();
      totals_.failed_connects += last_[i].failed_connects();
      totals_.streams_ended += last_[i].streams_ended();
      last_[i] = identity::Stats();
    }
    Progress(absl::StrCat("  ", NameOf(i), " has ended; it starts again"));
    members_[i]->Restart();
  }
}

Fleet::Totals Fleet::totals() const {
  base::MutexLock lock(&mu_);
  Totals totals = totals_;
  for (const identity::Stats& stats : last_) {
    totals.calls += stats.calls();
    totals.failed += stats.failed();
    totals.late += stats.late();
    totals.connects += stats.connects();
    totals.failed_connects += stats.failed_connects();
    totals.streams_ended += stats.streams_ended();
  }
  return totals;
}

}  // namespace mesh::benchmarks
