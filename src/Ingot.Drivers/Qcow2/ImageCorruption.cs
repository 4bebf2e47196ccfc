using Ingot.Io;
using Ingot.Linux;

namespace Ingot.Drivers.Qcow2;

/// <summary>What becomes of an image that is met corrupt: it is told once, in QEMU's words, and one that was being written to answers no request any more.</summary>
internal sealed class ImageCorruption(Qcow2Image image)
{
    private bool _hasWarned;

    /// <summary>True once corruption was met in an image that was being written to: it takes no requests any more.</summary>
    internal bool IsDead { get; private set; }

    /// <summary>Marks an image that is written to as corrupt and makes the exception to throw; one that is only read or checked is warned of.</summary>
    internal async IoTask<ErrnoException> RefuseAsync(string what)
    {
        bool isFatal = image.IsWritable && (image.Flags & OpenFlags.Check) == 0;
        if (isFatal && !IsDead)
        {
            IsDead = true;
            Qcow2Header header = image.Header.Current;
            image.Warn?.Invoke($"qcow2: Marking image as corrupt: {what}; further corruption events will be suppressed");
            await image.Header.ChangeFeaturesAsync(header.Incompatible | IncompatibleFeatures.Corrupt, header.Compatible, header.Autoclear);
        }
        else if (!isFatal)
        {
            Warn(what);
        }

        _hasWarned = true;
        return new ErrnoException(Errno.EIO, $"Image '{image.File.FileName}' is corrupt: {what}");
    }

    /// <summary>Tells of what is wrong but harms nothing.</summary>
    internal void Warn(string what)
    {
        if (!_hasWarned)
        {
            _hasWarned = true;
            image.Warn?.Invoke($"qcow2: Image is corrupt: {what}; further non-fatal corruption events will be suppressed");
        }
    }

    /// <summary>Takes no requests any more and is closed as it is in the file: what is known of it in memory can't be trusted.</summary>
    internal void Abandon() => IsDead = true;

    /// <summary>What every request gets once the image is dead, as if it were no longer there.</summary>
    internal ErrnoException DeadError() => ErrnoException.For(Errno.ENOMEDIUM, $"Image '{image.File.FileName}' is corrupt and serves no requests any more");
}
