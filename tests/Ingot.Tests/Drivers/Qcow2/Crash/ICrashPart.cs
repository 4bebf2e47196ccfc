using Ingot.Drivers.Qcow2;
using Ingot.Io;
using Ingot.Testing;

namespace Ingot.Tests.Drivers.Qcow2.Crash;

/// <summary>One kind of change of an image, with a model of what it may look like after a power cut.</summary>
internal interface ICrashPart
{
    /// <summary>Changes something at random.</summary>
    IoTask StepAsync();

    /// <summary>The image is about to be closed, which may store things.</summary>
    IoTask BeginCloseAsync() => IoTask.Completed;

    /// <summary>It was closed.</summary>
    void EndClose()
    {
    }

    /// <summary>Compares what a crash left with the model.</summary>
    /// <param name="node">The image, repaired if it was marked dirty.</param>
    /// <param name="disk">The file it lies in.</param>
    /// <param name="content">All that the guest reads.</param>
    /// <param name="moment">When the power went.</param>
    /// <returns>What is wrong, or null.</returns>
    IoTask<string?> CheckAsync(Qcow2Node node, MemoryDisk disk, byte[] content, int moment);
}
