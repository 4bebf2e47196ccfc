using System.Runtime.CompilerServices;
using Xunit;

[assembly: DisableRuntimeMarshalling]

// The guests take a core each, and some tests kill their server at a certain moment: one test at a time.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
