#include "mesh/certs/program.h"

#include <functional>
#include <set>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mesh/certs/arguments.h"
#include "mesh/certs/authority.h"
#include "mesh/certs/authority_files.h"
#include "mesh/certs/compare.h"
#include "mesh/certs/serve.h"
#include "mesh/security/peer_pattern.h"
#include "mesh/security/spiffe_id.h"

namespace mesh::certs {
namespace {

constexpr int kGood = 0;
constexpr int kFailed = 1;
constexpr int kWrongArguments = 2;

constexpr char kUsage[] =
    "usage: mesh-certs init|intermediate|issue|trust|crl|check|serve ...; see "
    "mesh-certs --help\n";

constexpr char kHelp[] = R"(
Makes certificates for development and tests. An authority is a directory with
its key: guard it.

  init DIR                  a new root authority in DIR
      --name NAME           its common name; another one for each authority
  intermediate DIR NEW      an authority in NEW, below the one in DIR
  issue DIR OUT             a new key and certificate in OUT: tls.key, tls.crt
      --spiffe ID           an X.509-SVID for both ends of a connection
      --dns NAME            a certificate with this name; may stand repeatedly
      --for server|client   for one end only (with --dns)
  trust OUT DIR...          OUT trusts these authorities: ca.crt, crl.pem
  crl DIR                   a new revocation list of DIR: crl.pem
      --revoke FILE         the certificate to revoke; may stand repeatedly

  check A B                 whether two processes with these files would talk to
                            each other, and why not
      --peer NAME           both talk to this peer: "spiffe://prod/cart",
                            "spiffe://prod/*", "dns:cart"; may stand repeatedly
  serve ADDRESS DIR...      an agent of the SPIFFE Workload API that gives the
                            SVID of each DIR, and what is issued there later.
                            ADDRESS is as unix:/tmp/agent.sock.
      --federate DOMAIN=FILE  also the authorities of this trust domain

  --key p256|p384|rsa|ed25519  the kind of a new key (p256)
  --lifetime DURATION       how long it holds then (authorities 8760h, lists 24h,
                            others 1h)
  --starts DURATION         when it begins, counted from now (0s)
  --help                    prints this

Each file is replaced in one step. To rotate a certificate, issue it again. To
rotate an authority, let OUT trust the old and the new one, issue from the new
one, and then trust the new one alone.

The exit code is 0 when all went well, 1 when something could not be done or is
found wrong, and 2 for arguments that are wrong.
)";

absl::StatusOr<KeyType> KeyTypeOf(const Arguments& arguments) {
  const std::string name = arguments.Get("--key", "p256");
  if (name == "p256") return KeyType::kP256;
  if (name == "p384") return KeyType::kP384;
  if (name == "rsa") return KeyType::kRsa;
  if (name == "ed25519") return KeyType::kEd25519;
  return absl::InvalidArgumentError(absl::StrCat(
      "--key must be p256, p384, rsa or ed25519, is \"", name, "\"."));
}

struct Dates {
  absl::Time from;
  absl::Time until;
};

absl::StatusOr<Dates> DatesOf(const Arguments& arguments, absl::Time now,
                              absl::Duration lifetime) {
  const absl::StatusOr<absl::Duration> starts =
      arguments.GetDuration("--starts", absl::ZeroDuration());
  if (!starts.ok()) return starts.status();
  const absl::StatusOr<absl::Duration> lives =
      arguments.GetDuration("--lifetime", lifetime);
  if (!lives.ok()) return lives.status();
  if (*lives <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("--lifetime must be positive.");
  }
  const absl::Time from = now + *starts;
  return Dates{from, from + *lives};
}

absl::Status ArgumentsError(absl::string_view what) {
  return absl::InvalidArgumentError(what);
}

// Each command returns INVALID_ARGUMENT for wrong arguments alone.
// FAILED_PRECONDITION and others: it could not be done.
absl::Status Failed(const absl::Status& status) {
  if (status.ok() || !absl::IsInvalidArgument(status)) return status;
  return absl::FailedPreconditionError(status.message());
}

absl::Status Init(const Arguments& arguments, absl::Time now) {
  if (arguments.words().size() != 1) {
    return ArgumentsError("init needs one directory.");
  }
  const absl::StatusOr<KeyType> type = KeyTypeOf(arguments);
  if (!type.ok()) return type.status();
  const absl::StatusOr<Dates> dates =
      DatesOf(arguments, now, absl::Hours(8760));
  if (!dates.ok()) return dates.status();
  const absl::StatusOr<Key> key = Key::Make(*type);
  if (!key.ok()) return key.status();
  const absl::StatusOr<Authority> authority = Authority::MakeRoot(
      AuthorityOptions(arguments.Get("--name", "mesh development authority"),
                       dates->from, dates->until),
      *key);
  if (!authority.ok()) return authority.status();
  return Failed(SaveAuthority(arguments.words()[0], *authority));
}

absl::Status Intermediate(const Arguments& arguments, absl::Time now) {
  if (arguments.words().size() != 2) {
    return ArgumentsError(
        "intermediate needs the directory of its authority, then its own.");
  }
  const absl::StatusOr<KeyType> type = KeyTypeOf(arguments);
  if (!type.ok()) return type.status();
  const absl::StatusOr<Dates> dates =
      DatesOf(arguments, now, absl::Hours(8760));
  if (!dates.ok()) return dates.status();
  const absl::StatusOr<Authority> above = LoadAuthority(arguments.words()[0]);
  if (!above.ok()) return Failed(above.status());
  const absl::StatusOr<Key> key = Key::Make(*type);
  if (!key.ok()) return key.status();
  const absl::StatusOr<Authority> authority = above->MakeIntermediate(
      AuthorityOptions(arguments.Get("--name", "mesh development intermediate"),
                       dates->from, dates->until),
      *key);
  if (!authority.ok()) return authority.status();
  return Failed(SaveAuthority(arguments.words()[1], *authority));
}

// What a leaf is to be, by the flags.
absl::StatusOr<CertificateOptions> LeafOf(const Arguments& arguments,
                                          const Dates& dates) {
  const std::string spiffe = arguments.Get("--spiffe", "");
  const std::vector<std::string> dns = arguments.All("--dns");
  const std::string side = arguments.Get("--for", "");
  if (spiffe.empty() == dns.empty()) {
    return ArgumentsError("issue needs --spiffe or --dns, and not both.");
  }
  if (!spiffe.empty()) {
    if (!side.empty()) {
      return ArgumentsError("--for has no place beside --spiffe.");
    }
    const absl::StatusOr<security::SpiffeId> id =
        security::SpiffeId::Parse(spiffe);
    if (!id.ok()) return id.status();
    return SvidOptions(spiffe, dates.from, dates.until);
  }
  if (side == "client") return ClientOptions(dns, dates.from, dates.until);
  CertificateOptions options = ServerOptions(dns, dates.from, dates.until);
  if (side.empty()) options.purposes.emplace_back("clientAuth");
  if (side.empty() || side == "server") return options;
  return absl::InvalidArgumentError(
      absl::StrCat("--for must be server or client, is \"", side, "\"."));
}

absl::Status Issue(const Arguments& arguments, absl::Time now) {
  if (arguments.words().size() != 2) {
    return ArgumentsError(
        "issue needs the authority's directory and another one.");
  }
  const absl::StatusOr<KeyType> type = KeyTypeOf(arguments);
  if (!type.ok()) return type.status();
  const absl::StatusOr<Dates> dates = DatesOf(arguments, now, absl::Hours(1));
  if (!dates.ok()) return dates.status();
  const absl::StatusOr<CertificateOptions> leaf = LeafOf(arguments, *dates);
  if (!leaf.ok()) return leaf.status();
  const absl::StatusOr<Authority> authority =
      LoadAuthority(arguments.words()[0]);
  if (!authority.ok()) return Failed(authority.status());
  const absl::StatusOr<Issued> issued = authority->Issue(*leaf, *type);
  if (!issued.ok()) return issued.status();
  return Failed(SaveIssued(arguments.words()[1], *issued));
}

absl::Status TrustThem(const Arguments& arguments, absl::Time now) {
  const std::vector<std::string>& words = arguments.words();
  if (words.size() < 2) {
    return ArgumentsError("trust needs a directory and those of authorities.");
  }
  return Failed(SaveTrust(words[0], {words.begin() + 1, words.end()}));
}

absl::Status MakeList(const Arguments& arguments, absl::Time now) {
  if (arguments.words().size() != 1) {
    return ArgumentsError("crl needs the directory of one authority.");
  }
  const std::string& directory = arguments.words()[0];
  const absl::StatusOr<Dates> dates = DatesOf(arguments, now, absl::Hours(24));
  if (!dates.ok()) return dates.status();
  const absl::StatusOr<Authority> authority = LoadAuthority(directory);
  if (!authority.ok()) return Failed(authority.status());
  absl::StatusOr<Revoked> revoked = LoadRevoked(directory);
  if (!revoked.ok()) return Failed(revoked.status());
  for (const std::string& file : arguments.All("--revoke")) {
    absl::StatusOr<std::string> serial = SerialOf(file);
    if (!serial.ok()) return Failed(serial.status());
    revoked->serials.push_back(*std::move(serial));
  }
  CrlOptions options;
  options.this_update = dates->from;
  options.next_update = dates->until;
  options.number = ++revoked->number;
  options.revoked = revoked->serials;
  const absl::StatusOr<std::string> crl = authority->MakeCrl(options);
  if (!crl.ok()) return Failed(crl.status());
  return Failed(SaveCrl(directory, *crl, *revoked));
}

absl::Status CheckBoth(const Arguments& arguments, absl::Time now,
                       std::ostream& out) {
  if (arguments.words().size() != 2) {
    return ArgumentsError("check needs two directories.");
  }
  std::vector<security::PeerPattern> peers;
  for (const std::string& text : arguments.All("--peer")) {
    absl::StatusOr<security::PeerPattern> peer =
        security::PeerPattern::Parse(text);
    if (!peer.ok()) return peer.status();
    peers.push_back(*std::move(peer));
  }
  std::vector<End> ends;
  for (const std::string& directory : arguments.words()) {
    absl::StatusOr<End> end = ReadEnd(directory);
    if (!end.ok()) return Failed(end.status());
    end->peers = peers;
    ends.push_back(*std::move(end));
  }
  const Report report = Compare(ends[0], ends[1], now);
  for (const std::string& line : report.lines) out << line << "\n";
  if (report.good) return absl::OkStatus();
  return absl::FailedPreconditionError("they would not talk to each other.");
}

absl::Status ServeFiles(const Arguments& arguments, std::ostream& out,
                        std::ostream& err) {
  const std::vector<std::string>& words = arguments.words();
  if (words.size() < 2) {
    return ArgumentsError("serve needs an address and a directory.");
  }
  ServeOptions options;
  options.address = words[0];
  options.directories.assign(words.begin() + 1, words.end());
  for (const std::string& pair : arguments.All("--federate")) {
    const size_t equals = pair.find('=');
    if (equals == std::string::npos ||
        !security::SpiffeId::CheckTrustDomain(pair.substr(0, equals)).ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--federate must be DOMAIN=FILE, is \"", pair, "\"."));
    }
    options.federated[pair.substr(0, equals)] = pair.substr(equals + 1);
  }
  return Failed(Serve(options, WaitForSignal(), out, err));
}

// Where commands write.
struct Streams {
  std::ostream& out;
  std::ostream& err;
};

struct Command {
  const char* name;
  std::set<std::string> flags;
  std::function<absl::Status(const Arguments& arguments, absl::Time now,
                             const Streams& streams)>
      run;
};

// A command that writes nothing.
auto Quiet(absl::Status (*run)(const Arguments& arguments, absl::Time now)) {
  return [run](const Arguments& arguments, absl::Time now, const Streams&) {
    return run(arguments, now);
  };
}

const std::vector<Command>& Commands() {
  static const auto* const commands = new std::vector<Command>{
      {"init", {"--name", "--key", "--lifetime", "--starts"}, Quiet(&Init)},
      {"intermediate",
       {"--name", "--key", "--lifetime", "--starts"},
       Quiet(&Intermediate)},
      {"issue",
       {"--spiffe", "--dns", "--for", "--key", "--lifetime", "--starts"},
       Quiet(&Issue)},
      {"trust", {}, Quiet(&TrustThem)},
      {"crl", {"--revoke", "--lifetime", "--starts"}, Quiet(&MakeList)},
      {"check",
       {"--peer"},
       [](const Arguments& arguments, absl::Time now, const Streams& streams) {
         return CheckBoth(arguments, now, streams.out);
       }},
      {"serve",
       {"--federate"},
       [](const Arguments& arguments, absl::Time now, const Streams& streams) {
         return ServeFiles(arguments, streams.out, streams.err);
       }},
  };
  return *commands;
}

}  // namespace

int Run(const std::vector<std::string>& arguments, absl::Time now,
        std::ostream& out, std::ostream& err) {
  const std::string name = arguments.empty() ? "" : arguments[0];
  if (name == "--help") {
    out << kUsage << kHelp;
    return kGood;
  }
  for (const Command& command : Commands()) {
    if (name != command.name) continue;
    const absl::StatusOr<Arguments> parsed = Arguments::Parse(
        {arguments.begin() + 1, arguments.end()}, command.flags);
    const absl::Status status =
        parsed.ok() ? command.run(*parsed, now, {out, err}) : parsed.status();
    if (status.ok()) return kGood;
    err << "mesh-certs " << name << ": " << status.message() << "\n";
    return absl::IsInvalidArgument(status) ? kWrongArguments : kFailed;
  }
  const absl::Status wrong =
      name.empty() ? ArgumentsError("a command is needed.")
                   : ArgumentsError(absl::StrCat("the command \"", name,
                                                 "\" is unknown."));
  err << "mesh-certs: " << wrong.message() << "\n" << kUsage;
  return kWrongArguments;
}

}  // namespace mesh::certs
