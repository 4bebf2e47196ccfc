namespace Ingot.Block;

/// <summary>An image whose bytes can't be what they claim: names the file, the field and the value.</summary>
/// <param name="message">What is wrong and where.</param>
public sealed class ImageFormatException(string message) : Linux.ErrnoException(Linux.Errno.EINVAL, message);

/// <summary>Options, names or states that a user can correct.</summary>
/// <param name="message">What is wrong, in the words of the option.</param>
public sealed class OptionException(string message) : Linux.ErrnoException(Linux.Errno.EINVAL, message);
