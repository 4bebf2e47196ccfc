using System.Runtime.InteropServices;

namespace Ingot.Linux;

/// <summary>Owner of one file descriptor. Disposing closes it; safe to dispose twice and from any thread.</summary>
public sealed class FileDescriptor : SafeHandle
{
    /// <summary>Takes ownership of a descriptor.</summary>
    /// <param name="fd">An open descriptor, or -1 for none.</param>
    public FileDescriptor(int fd)
        : base(-1, ownsHandle: true) => SetHandle(fd);

    /// <inheritdoc/>
    public override bool IsInvalid => handle < 0;

    /// <summary>The number itself; valid while the owner keeps this object open.</summary>
    public int Value => (int)handle;

    /// <summary>The name of what it is open on, for messages; null for what has none.</summary>
    public string? Name { get; set; }

    /// <summary>The owner is about to close it, on the owner's thread; whoever keeps the file open in another way lets go.</summary>
    public event Action<FileDescriptor>? Closing;

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing && !IsClosed)
        {
            Closing?.Invoke(this);
        }

        base.Dispose(disposing);
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => Libc.close((int)handle) == 0;
}
