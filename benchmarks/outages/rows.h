#ifndef MESH_BENCHMARKS_OUTAGES_ROWS_H_
#define MESH_BENCHMARKS_OUTAGES_ROWS_H_

#include "benchmarks/outages/figures.h"

// The rows of the outages bench. Each starts its own processes, ends them, and
// says its figures. README.md has what each does.

namespace mesh::benchmarks {

// priority_rows.cc
void PriorityCold(Figures* figures);
void PriorityMoved(Figures* figures);
void PriorityUnhealthy(Figures* figures);
void PrioritySpill(Figures* figures);

// connection_rows.cc
void DeadConnection1(Figures* figures);
void DeadConnection8(Figures* figures);
void Stopped(Figures* figures);
void Restart(Figures* figures);
void Refused(Figures* figures);
void HoleRow(Figures* figures);

// health_rows.cc
void Mixed(Figures* figures);
void OwnFailures(Figures* figures);
void Tenant(Figures* figures);
void Partial40Real(Figures* figures);

// change_rows.cc
void DnsEmpty(Figures* figures);
void Streams(Figures* figures);
void ChurnRow(Figures* figures);
void ReloadTls(Figures* figures);

// memory_rows.cc
void Memory(Figures* figures);

}  // namespace mesh::benchmarks

#endif  // MESH_BENCHMARKS_OUTAGES_ROWS_H_
